package natsengine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"eureka"
)

const (
	startTimeout = 60 * time.Second // JetStream reads its state before it is ready
	streamsDir   = "jetstream/" + globalAccount + "/streams"
	// globalAccount is the account of a NATS server without accounts.
	globalAccount = "$G"
)

// embedded is a NATS server in this process. It listens on no port.
type embedded struct {
	server *server.Server
	dir    string
	log    *serverLog
	lock   *os.File
	epoch  string                      // of what is stored; another one after a machine went down with messages that were not synced
	sync   time.Duration               // interval of syncs, 0 for each message
	before map[string]map[string]int64 // sizes of the message files, by stream, before the server read them
}

// startEmbedded takes the data directory and starts a server on it.
func startEmbedded(o Options) (*embedded, error) {
	dir, log := o.DataDir, o.Log
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, directoryError(dir, err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, directoryError(dir, err)
	}
	e := &embedded{dir: dir, lock: lock, log: &serverLog{log: log}, sync: o.SyncInterval}
	if o.SyncAlways {
		e.sync = 0
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *embedded) start() error {
	store := filepath.Join(e.dir, "nats")
	if err := probe(e.dir, store); err != nil {
		return directoryError(e.dir, err)
	}
	var err error
	if e.before, err = blockSizes(e.streams()); err != nil {
		return directoryError(e.dir, err)
	}
	var kept bool
	if e.epoch, kept, err = openEpoch(e.dir, e.sync == 0, func() error { return syncFiles(e.streams()) }); err != nil {
		return directoryError(e.dir, err)
	}
	if !kept && len(e.before) > 0 {
		e.log.log.Warn("the machine went down since the last run, or it is not known: messages of the last moments may be lost, so clients that resume fetch their state again")
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "eureka", DontListen: true, NoSigs: true, JetStream: true, StoreDir: store,
		DisableJetStreamBanner: true, SyncAlways: e.sync == 0, SyncInterval: e.sync,
	})
	if err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "the NATS server in this process cannot be made")
	}
	e.server = s
	s.SetLoggerV2(e.log, false, false, false)
	s.Start()
	// A server whose JetStream fails still accepts connections; its log has the reason.
	if fatal := e.log.fatalText(); fatal != "" || !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		return eureka.WrapError(eureka.CodeInternal, errors.New(fatal),
			"the data directory %s cannot be opened: its state may be damaged or the disk full; restore it from a backup, or move it away to start empty", e.dir)
	}
	return nil
}

// probe checks that the directory can be written before NATS tries to, since its own errors are for operators of NATS.
func probe(dir, store string) error {
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// check compares what was on disk with what the server has read. NATS skips a stream it cannot read, and cuts off the part of a file
// that it cannot read; a service that promises to keep its channels must say so.
func (e *embedded) check() error {
	state, err := e.server.Jsz(&server.JSzOptions{Streams: true, Accounts: true, Config: true})
	if err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "the state of the NATS server in this process cannot be read")
	}
	streams := map[string]server.StreamDetail{}
	for _, account := range state.AccountDetails {
		for _, stream := range account.Streams {
			streams[stream.Name] = stream
		}
	}
	after, err := blockSizes(e.streams())
	if err != nil {
		return directoryError(e.dir, err)
	}
	for stream, before := range e.before {
		now, ok := streams[stream]
		if !ok {
			return damaged(e.dir, stream, "cannot be read")
		}
		var lost int64
		for file, size := range before {
			left, there := after[stream][file]
			switch {
			case there && now.State.Lost != nil: // a file may also be smaller because NATS has tidied it up
				lost += max(size-left, 0)
			case !there && !expires(now): // NATS removes a file that it cannot read at all, and also one whose messages have all expired
				lost += size
			}
		}
		switch {
		case lost > maxTornTail || (lost > 0 && now.State.Msgs == 0):
			return damaged(e.dir, stream, fmt.Sprintf("has lost %d bytes", lost))
		case lost > 0:
			e.log.log.Error("the end of a stream could not be read, as after a crash in the middle of a write; it was cut off",
				slog.String("stream", stream), slog.Int64("bytes", lost))
		}
	}
	return nil
}

// expires reports whether messages of a stream end by themselves: those of the history do, and those of buckets that have a time for it.
func expires(s server.StreamDetail) bool {
	return !strings.HasPrefix(s.Name, bucketPrefix) || s.Config == nil || s.Config.MaxAge > 0
}

func (e *embedded) streams() string {
	return filepath.Join(e.dir, "nats", filepath.FromSlash(streamsDir))
}

// blockSizes returns the sizes of each stream's message files.
func blockSizes(dir string) (map[string]map[string]int64, error) {
	sizes := map[string]map[string]int64{}
	streams, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return sizes, nil
	}
	for _, stream := range streams {
		if !stream.IsDir() || strings.HasPrefix(stream.Name(), ".") {
			continue
		}
		sizes[stream.Name()] = map[string]int64{}
		files, globErr := filepath.Glob(filepath.Join(dir, stream.Name(), "msgs", "*.blk"))
		err = errors.Join(err, globErr)
		for _, file := range files {
			// A file may be removed meanwhile: NATS drops those that hold nothing.
			if info, statErr := os.Stat(file); statErr == nil {
				sizes[stream.Name()][filepath.Base(file)] = info.Size()
			}
		}
	}
	return sizes, err
}

// bucketPrefix starts the names of streams that are key-value buckets.
const bucketPrefix = "KV_"

// maxTornTail is what a crash in the middle of one write can leave unreadable: a stored message with its headers.
const maxTornTail = 256 << 10

func damaged(dir, stream, how string) error {
	return eureka.Errorf(eureka.CodeInternal,
		"the data directory %s is damaged: its stream %s %s; restore it from a backup, or move it away to start empty", dir, stream, how)
}

// stop ends the server and lets the data directory go.
func (e *embedded) stop() error {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	var err error
	if e.epoch != "" {
		if err = syncFiles(e.streams()); err == nil {
			err = closeEpoch(e.dir, e.epoch)
		}
	}
	return errors.Join(err, e.lock.Close())
}

// syncFiles writes to the disk what the server left to the operating system.
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the operator's own directory
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

func directoryError(dir string, err error) error {
	switch {
	case errors.Is(err, errLocked):
		return eureka.WrapError(eureka.CodeConflict, err, "the data directory %s is in use by another process", dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return eureka.WrapError(eureka.CodeForbidden, err, "the data directory %s cannot be written", dir)
	case errors.Is(err, syscall.ENOSPC):
		return eureka.WrapError(eureka.CodeUnavailable, err, "the disk of the data directory %s is full", dir)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return eureka.WrapError(eureka.CodeInvalid, err, "the data directory %s is not a directory", dir)
	default:
		return eureka.WrapError(eureka.CodeInternal, err, "the data directory %s cannot be used", dir)
	}
}

// errLocked means that another process holds the lock file.
var errLocked = errors.New("the lock file is held by another process")

// serverLog passes the server's log on and keeps the first text that it would have died of.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

// Noticef logs what the server finds notable; to an operator of this service it is detail.
func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Warnf logs a warning.
func (l *serverLog) Warnf(format string, v ...any) { l.write(slog.LevelWarn, format, v) }

// Errorf logs an error.
func (l *serverLog) Errorf(format string, v ...any) { l.write(slog.LevelError, format, v) }

// Debugf logs detail.
func (l *serverLog) Debugf(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Tracef logs nothing: it would be every message.
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf keeps the text; the process goes on and reports it.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
	l.mu.Unlock()
	l.write(slog.LevelError, format, v)
}

func (l *serverLog) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) write(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "nats", slog.String("text", fmt.Sprintf(format, v...)))
}
