package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"eureka/internal/config"
)

// patience is how long a test waits for something that should happen soon, on a loaded machine too.
const patience = 2 * time.Minute

// service is the whole self-hosted service, on a port of the loopback interface.
type service struct {
	t       testing.TB
	address string
	log     output // of a process of its own
}

// output is a log that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func settings(dir string) config.Settings {
	return config.Settings{
		Listen: "127.0.0.1:0", DataDir: dir, Namespace: "eureka", Replicas: 1, UndeclaredChannels: config.UndeclaredAllow, MaxBodyBytes: 8 << 20,
		MaxSubscriptions: 10, QueueBytes: 1 << 20, QueueFrames: 1024, PingInterval: 25 * time.Second, IdleTimeout: 10 * time.Minute,
		HandshakeTimeout: patience, DrainTimeout: patience, DrainSpread: time.Millisecond, Sync: "1s", HistoryCacheBytes: 64 << 20,
		EventWorkers: 1, SQSReceives: 1, LogLevel: "warn", LogFormat: "text",
	}
}

// startService runs the service in this process.
func startService(t testing.TB) *service {
	t.Helper()
	a, err := New(Options{Settings: settings(t.TempDir()), Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNow(a) })
	return &service{t: t, address: a.Addr()}
}

// stopNow stops a service whose sockets may be left without an end.
func stopNow(a *App) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = a.Stop(ctx) // sockets that are left are cut
}

// childDirectory tells a process of this test that it is to be a service on this data directory until its input ends.
const childDirectory = "EUREKA_APP_TEST_DIRECTORY"

// childDescriptors tells it how many more files it may open once it has started; without it there are enough for every test.
const childDescriptors = "EUREKA_APP_TEST_DESCRIPTORS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		if err := child(dir); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

func child(dir string) error {
	if err := raiseDescriptors(wantDescriptors); err != nil {
		return err
	}
	a, err := New(Options{Settings: settings(dir), Version: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	if err := a.Start(context.Background()); err != nil {
		return err
	}
	defer stopNow(a)
	if more := os.Getenv(childDescriptors); more != "" {
		if err := limitDescriptors(more); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(os.Stdout, a.Addr()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// limitDescriptors lets this process open so many more files.
func limitDescriptors(more string) error {
	n, err := strconv.Atoi(more)
	if err != nil {
		return err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = uint64(len(open) - 1 + n) // the directory itself was open
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// startProcess runs the service in a process of its own, with descriptors of its own.
func startProcess(t testing.TB, environment ...string) *service {
	t.Helper()
	s := &service{t: t}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	command.Env, command.Stderr = append(append(os.Environ(), childDirectory+"="+t.TempDir()), environment...), io.MultiWriter(&s.log, t.Output())
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.address = strings.TrimSpace(address)
	return s
}

// call makes a request, which must be accepted, and decodes its answer into out, if there is one.
func (s *service) call(method, path string, body any, out any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address+path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %d %.300s %v", method, path, response.StatusCode, answer, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			s.t.Fatalf("%s %s: %v: %.300s", method, path, err, answer)
		}
	}
}

// publish stores n messages on a channel, whose data is padding.
func (s *service) publish(channel string, n, padding int) {
	s.t.Helper()
	type event struct {
		ChannelID string `json:"channelId"`
		Data      string `json:"data"`
	}
	for n > 0 {
		var events []event
		for range min(n, 1000) {
			events = append(events, event{channel, strings.Repeat("x", padding)})
		}
		n -= len(events)
		s.call(http.MethodPost, "/events", events, nil)
	}
}

// position is the cursor behind the newest message of a channel.
func (s *service) position(channel string) string {
	s.t.Helper()
	var page struct{ Cursor string }
	s.call(http.MethodGet, "/channels/"+channel+"/messages?limit=1", nil, &page)
	return page.Cursor
}

// ids are the cursors of all messages behind a position.
func (s *service) ids(channel, since string) []string {
	s.t.Helper()
	var all []string
	for more := true; more; {
		var page struct {
			List   []struct{ ID string }
			Cursor string
			More   bool
		}
		s.call(http.MethodGet, "/channels/"+channel+"/messages?limit=1000&since="+since, nil, &page)
		for _, m := range page.List {
			all = append(all, m.ID)
		}
		since, more = page.Cursor, page.More
	}
	return all
}

// metric reads one of the service's metrics.
func (s *service) metric(name string) float64 {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address+"/metrics", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		var v float64
		if _, err := fmt.Sscanf(lines.Text(), name+" %g", &v); err == nil {
			return v
		}
	}
	s.t.Fatalf("there is no metric %s: %v", name, lines.Err())
	return 0
}

// rawSocket is a real WebSocket connection that costs little beside the service.
type rawSocket struct {
	net.Conn

	reader *bufio.Reader
}

// dial connects without a handshake. buffer is the system's buffer of the client's end, 0 for the usual one.
func (s *service) dial(buffer int) (*rawSocket, error) {
	dialer := net.Dialer{Timeout: patience}
	if buffer > 0 {
		dialer.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) })
		}
	}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // leaves no port behind
	}
	return &rawSocket{Conn: conn, reader: bufio.NewReaderSize(conn, 2048)}, conn.SetDeadline(time.Now().Add(2 * patience))
}

// errBusy is a handshake that the service could not answer in time; it may be tried again.
var errBusy = errors.New("the handshake was answered 503")

// handshake opens the WebSocket with these channels.
func (r *rawSocket) handshake(channels string) error {
	_, err := fmt.Fprintf(r, "GET /?channels=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", channels)
	if err != nil {
		return err
	}
	response, err := http.ReadResponse(r.reader, nil) //nolint:bodyclose // it is the connection
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusServiceUnavailable {
		return errBusy
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // only for the error
		return fmt.Errorf("the handshake was answered %d %s", response.StatusCode, text)
	}
	return nil
}

// next reads the next text frame; pings on the way are answered.
func (r *rawSocket) next() ([]byte, error) {
	for {
		head, err := r.reader.ReadByte()
		if err != nil {
			return nil, err
		}
		length, err := r.length()
		if err != nil {
			return nil, err
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(r.reader, payload); err != nil {
			return nil, err
		}
		switch head {
		case 0x81:
			return payload, nil
		case 0x89:
			if _, err := r.Write([]byte{0x8a, 0x80, 0, 0, 0, 0}); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("a frame that starts with %#x: %.200q", head, payload)
		}
	}
}

func (r *rawSocket) length() (int, error) {
	short, err := r.reader.ReadByte()
	if err != nil || short < 126 {
		return int(short), err
	}
	rest := make([]byte, map[byte]int{126: 2, 127: 8}[short])
	if _, err := io.ReadFull(r.reader, rest); err != nil {
		return 0, err
	}
	n := 0
	for _, b := range rest {
		n = n<<8 | int(b)
	}
	return n, nil
}

// id is the cursor of a message's frame, "" for another frame.
func id(frame []byte) string {
	_, rest, ok := bytes.Cut(frame, []byte(`,"id":"`))
	if !ok {
		return ""
	}
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}

// wantDescriptors is enough for one end of every test.
const wantDescriptors = 11_000

// raiseDescriptors raises this process's limit of open files to n: beyond the hard limit only with the right to.
func raiseDescriptors(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= n {
		return err
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: max(n, limit.Max)})
}
