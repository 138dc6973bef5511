package natsengine

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"eureka"
)

// columns are the fields that a query can name. Nothing else of a query ever becomes part of a statement's text.
var columns = map[string]struct {
	name string
	kind columnKind
}{
	"id": {"id", textColumn}, "alias": {"alias", textColumn}, "service": {"service", textColumn},
	"modelType": {"model_type", textColumn}, "modelId": {"model_id", textColumn}, "name": {"name", textColumn},
	"desc": {"descr", textColumn}, "presence": {"presence", boolColumn},
	"createdAt": {"created_at", numberColumn}, "updatedAt": {"updated_at", numberColumn},
}

type columnKind int

const (
	textColumn columnKind = iota
	numberColumn
	boolColumn
)

const selectChannels = `SELECT id, alias, service, model_type, model_id, name, descr, presence, history_size, history_ttl, created_at, updated_at, revision, rules FROM channels`

// clause is a part of a statement with the values for its question marks.
type clause struct {
	text string
	args []any
}

func (c *clause) and(text string, args ...any) {
	if c.text == "" {
		c.text = " WHERE "
	} else {
		c.text += " AND "
	}
	c.text += text
	c.args = append(c.args, args...)
}

// list answers a query that is valid already.
func (r *replica) list(ctx context.Context, q eureka.ChannelQuery) (eureka.Page[eureka.Channel], error) {
	none := eureka.Page[eureka.Channel]{Items: []eureka.Channel{}}
	sort := q.Sort
	if sort.Field == "" {
		sort = eureka.Sort{Field: "createdAt", Desc: true}
	}
	after, err := parseCursor(sort, q.After)
	if err != nil {
		return none, err
	}
	where, some, err := filter(q)
	if err != nil || !some {
		return none, err
	}
	if err := r.table.take(ctx); err != nil {
		return none, channelError(err)
	}
	defer r.table.release()
	// A cancelled statement may take the connection, and with it the database, away.
	page, err := r.table.page(context.WithoutCancel(ctx), q.Paging, sort, where, after)
	if err != nil {
		return none, channelError(err)
	}
	return page, nil
}

func (t *table) page(ctx context.Context, p eureka.Paging, sort eureka.Sort, where clause, after *cursor) (eureka.Page[eureka.Channel], error) {
	page := eureka.Page[eureka.Channel]{Items: []eureka.Channel{}}
	size := p.Size()
	if size > 0 {
		var err error
		if page.Items, err = t.items(ctx, order(where, sort, after, size+1, p.Offset())); err != nil {
			return page, err
		}
	}
	if whole := size > 0 && after == nil && p.Offset() == 0 && len(page.Items) <= size; whole {
		page.Total = len(page.Items)
		return page, nil
	}
	stmt, err := t.prepare(ctx, "SELECT count(*) FROM channels"+where.text)
	if err != nil {
		return page, err
	}
	if err := stmt.QueryRowContext(ctx, where.args...).Scan(&page.Total); err != nil {
		return page, err
	}
	if size > 0 && len(page.Items) > size {
		page.Items = page.Items[:size]
		page.Next = nextCursor(sort, page.Items[size-1])
	}
	return page, nil
}

func (t *table) items(ctx context.Context, c clause) ([]eureka.Channel, error) {
	stmt, err := t.prepare(ctx, selectChannels+c.text)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(ctx, c.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	items := []eureka.Channel{}
	for rows.Next() {
		var ch eureka.Channel
		if err := scanChannel(rows, &ch); err != nil {
			return nil, err
		}
		items = append(items, ch)
	}
	return items, rows.Err()
}

func scanChannel(rows *sql.Rows, ch *eureka.Channel) error {
	var history eureka.Retention
	var text string
	err := rows.Scan(&ch.ID, &ch.Alias, &ch.Service, &ch.ModelType, &ch.ModelID, &ch.Name, &ch.Desc, &ch.Presence,
		&history.Size, (*int64)(&history.TTL), &ch.CreatedAt, &ch.UpdatedAt, &ch.Revision, &text)
	if history.Size != 0 {
		ch.History = &history
	}
	if err != nil {
		return err
	}
	return readRules(text, ch)
}

// filter makes the condition of a query. It reports false when nothing can match.
func filter(q eureka.ChannelQuery) (clause, bool, error) {
	var where clause
	for _, c := range q.Where {
		column := columns[c.Field]
		empty := "''"
		if column.kind != textColumn {
			empty = "0"
		}
		switch c.Match {
		case eureka.Missing:
			where.and(column.name + " = " + empty)
		case eureka.Exists:
			where.and(column.name + " <> " + empty)
		case eureka.AnyOf:
			args := make([]any, 0, len(c.Values))
			for _, v := range c.Values {
				arg, err := columnValue(c.Field, column.kind, v)
				if err != nil {
					return where, false, err
				}
				args = append(args, arg)
			}
			where.and(column.name+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
		default:
			return where, false, eureka.FieldError(c.Field, "cannot be compared in that way")
		}
	}
	if q.Text != "" {
		words, some := matchWords(q.Text)
		if !some {
			return where, false, nil
		}
		where.and("row IN (SELECT rowid FROM words WHERE words MATCH ?)", words)
	}
	return where, true, nil
}

func columnValue(field string, kind columnKind, value string) (any, error) {
	switch kind {
	case boolColumn:
		if value != "true" && value != "false" {
			return nil, eureka.FieldError(field, "must be true or false")
		}
		return value == "true", nil
	case numberColumn:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, eureka.FieldError(field, "must be a whole number")
		}
		return n, nil
	default:
		return value, nil
	}
}

// order adds position, order and limits to a condition.
func order(where clause, sort eureka.Sort, after *cursor, limit, offset int) clause {
	column, direction, comparison := columns[sort.Field].name, "", ">"
	if sort.Desc {
		direction, comparison = " DESC", "<"
	}
	c := clause{text: where.text, args: append([]any(nil), where.args...)}
	by := column + direction + ", id" + direction
	if sort.Field == "id" {
		by = column + direction
	}
	switch {
	case after == nil:
	case sort.Field == "id":
		c.and("id "+comparison+" ?", after.id)
	default:
		c.and(fmt.Sprintf("(%s, id) %s (?, ?)", column, comparison), after.value, after.id)
	}
	c.text += " ORDER BY " + by + " LIMIT ? OFFSET ?"
	c.args = append(c.args, limit, offset)
	return c
}
