package natsengine

import (
	"context"
	"database/sql"
	"fmt"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"eureka"
)

// table is the database that serves lists: one in-memory SQLite connection that one caller uses at a time. It has a copy of what the replica
// shows and nothing else.
type table struct {
	turn  chan struct{} // holds one token; who has it may use the rest
	db    *sql.DB
	conn  *sql.Conn // the database lives as long as this connection
	stmts map[string]*sql.Stmt
	rows  map[string]int64 // row of each channel id
	last  int64            // last row used
}

// maxStatements bounds the prepared statements that are kept; queries differ by their number of values.
const maxStatements = 100

// The words are a full-text index beside the rows. Symbols and marks belong to words, so that an emoji can be searched for.
var tableSchema = []string{
	`CREATE TABLE channels (
		row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, alias TEXT NOT NULL, service TEXT NOT NULL, model_type TEXT NOT NULL,
		model_id TEXT NOT NULL, name TEXT NOT NULL, descr TEXT NOT NULL, presence INTEGER NOT NULL,
		history_size INTEGER NOT NULL, history_ttl INTEGER NOT NULL, created_at INTEGER NOT NULL,
		updated_at INTEGER NOT NULL, revision INTEGER NOT NULL, rules TEXT NOT NULL)`,
	`CREATE INDEX by_model ON channels (service, model_type, model_id, id)`,
	`CREATE INDEX by_model_type ON channels (model_type, id)`,
	`CREATE INDEX by_model_id ON channels (model_id, id)`,
	`CREATE INDEX by_alias ON channels (alias, id)`,
	`CREATE INDEX by_name ON channels (name, id)`,
	`CREATE INDEX by_created_at ON channels (created_at, id)`,
	`CREATE INDEX by_updated_at ON channels (updated_at, id)`,
	`CREATE VIRTUAL TABLE words USING fts5(id, alias, service, model_type, model_id, name, descr, content='', contentless_delete=1,
		tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co So Mn Mc'")`,
}

// New rows are inserted by plain statements. Those that SQLite guards by a savepoint (REPLACE, UPSERT, RETURNING) make the
// full-text index write all it has each time, which takes the replay twice as long.
const (
	rowColumns = `INTO channels (row, id, alias, service, model_type, model_id, name, descr, presence, history_size, history_ttl,
		created_at, updated_at, revision, rules)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	wordColumns = `INTO words (rowid, id, alias, service, model_type, model_id, name, descr) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

	insertRow    = `INSERT ` + rowColumns
	replaceRow   = `REPLACE ` + rowColumns
	deleteRow    = `DELETE FROM channels WHERE row = ?`
	insertWords  = `INSERT ` + wordColumns
	replaceWords = `REPLACE ` + wordColumns
	deleteWords  = `DELETE FROM words WHERE rowid = ?`
)

func openTable(ctx context.Context) (*table, error) {
	t := &table{turn: make(chan struct{}, 1)}
	if err := t.reset(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// take waits for the caller's turn.
func (t *table) take(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *table) release() { <-t.turn }

// reset replaces the database by an empty one.
func (t *table) reset(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	t.turn <- struct{}{}
	defer t.release()
	t.drop()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return fmt.Errorf("open the list's database: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return fmt.Errorf("open the list's database: %w", err)
	}
	t.db, t.conn, t.stmts, t.rows = db, conn, map[string]*sql.Stmt{}, map[string]int64{}
	for _, statement := range tableSchema {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the list's tables: %w", err)
		}
	}
	return nil
}

func (t *table) close() {
	t.turn <- struct{}{}
	defer t.release()
	t.drop()
}

func (t *table) drop() {
	if t.db != nil {
		_ = t.conn.Close()
		_ = t.db.Close()
		t.db, t.conn, t.stmts = nil, nil, nil
	}
}

// write brings changes into the database in one transaction. What it does cannot be cancelled half way.
func (t *table) write(ctx context.Context, changes []change) error {
	ctx = context.WithoutCancel(ctx)
	t.turn <- struct{}{}
	defer t.release()
	if _, err := t.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	for _, c := range changes {
		if err := t.writeOne(ctx, c); err != nil {
			_, _ = t.conn.ExecContext(ctx, "ROLLBACK")
			return err
		}
	}
	_, err := t.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (t *table) writeOne(ctx context.Context, c change) error {
	ch := c.new
	if ch == nil {
		row, known := t.rows[c.old.ID]
		if !known {
			return nil
		}
		delete(t.rows, c.old.ID)
		if err := t.exec(ctx, deleteRow, row); err != nil {
			return err
		}
		return t.exec(ctx, deleteWords, row)
	}
	row, known := t.rows[ch.ID]
	writeRow, writeWords := replaceRow, replaceWords
	if !known {
		t.last++
		row = t.last
		t.rows[ch.ID] = row
		writeRow, writeWords = insertRow, insertWords
	}
	var history eureka.Retention // its size is 0 for none
	if ch.History != nil {
		history = *ch.History
	}
	err := t.exec(ctx, writeRow, row, ch.ID, ch.Alias, ch.Service, ch.ModelType, ch.ModelID, ch.Name, ch.Desc,
		ch.Presence, history.Size, int64(history.TTL), ch.CreatedAt, ch.UpdatedAt, int64(ch.Revision), rulesText(ch)) //nolint:gosec // a stream sequence is far below 2^63
	if err != nil || known && c.old != nil && sameWords(c.old, ch) {
		return err
	}
	return t.exec(ctx, writeWords, row, ch.ID, ch.Alias, ch.Service, ch.ModelType, ch.ModelID, ch.Name, ch.Desc)
}

func sameWords(a, b *eureka.Channel) bool {
	return a.Alias == b.Alias && a.Service == b.Service && a.ModelType == b.ModelType && a.ModelID == b.ModelID &&
		a.Name == b.Name && a.Desc == b.Desc
}

func (t *table) exec(ctx context.Context, query string, args ...any) error {
	stmt, err := t.prepare(ctx, query)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, args...)
	return err
}

// prepare returns the statement of a query, a kept one when there is one.
func (t *table) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := t.stmts[query]; ok {
		return stmt, nil
	}
	if t.conn == nil {
		return nil, eureka.Errorf(eureka.CodeUnavailable, "the channel store is closed")
	}
	if len(t.stmts) >= maxStatements {
		for q, stmt := range t.stmts {
			_ = stmt.Close()
			delete(t.stmts, q)
		}
	}
	stmt, err := t.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	t.stmts[query] = stmt
	return stmt, nil
}
