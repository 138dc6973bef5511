package config

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// TestBounds: every number is taken at its bounds and refused just beyond them, by its own name.
func TestBounds(t *testing.T) {
	size := func(set func(*Settings, Size)) func(*Settings, int64) {
		return func(s *Settings, n int64) { set(s, Size(n)) }
	}
	duration := func(set func(*Settings, time.Duration)) func(*Settings, int64) {
		return func(s *Settings, n int64) { set(s, time.Duration(n)) }
	}
	for _, tt := range []struct {
		key       string
		low, high int64
		set       func(*Settings, int64)
	}{
		{"replicas", 1, 5, func(s *Settings, n int64) { s.Replicas, s.NATS = int(n), "nats://h" }},
		{"max_body_bytes", 1 << 10, 64 << 20, size(func(s *Settings, n Size) { s.MaxBodyBytes = n })},
		{"max_subscriptions", 1, 100_000, func(s *Settings, n int64) { s.MaxSubscriptions = int(n) }},
		{"max_history_bytes", 0, math.MaxInt64, size(func(s *Settings, n Size) { s.MaxHistoryBytes = n })},
		{"history_cache_bytes", 1 << 20, 1 << 40, size(func(s *Settings, n Size) { s.HistoryCacheBytes = n })},
		{"max_sockets", 0, math.MaxInt32, func(s *Settings, n int64) { s.MaxSockets = int(n) }},
		{"max_sockets_per_user", 0, math.MaxInt32, func(s *Settings, n int64) { s.MaxSocketsPerUser = int(n) }},
		{"connects_per_second", 0, 1_000_000, func(s *Settings, n int64) { s.ConnectsPerSecond = int(n) }},
		{"connects_per_second_per_user", 0, 1_000_000, func(s *Settings, n int64) { s.ConnectsPerSecondPerUser = int(n) }},
		{"frames_per_second", 0, 1_000_000, func(s *Settings, n int64) { s.FramesPerSecond = int(n) }},
		{"publishes_per_second", 0, 1_000_000, func(s *Settings, n int64) { s.PublishesPerSecond = int(n) }},
		{"queue_bytes", 2 * eureka.MaxFrameBytes, 1 << 30, size(func(s *Settings, n Size) { s.QueueBytes = n })},
		{"event_workers", 1, 4096, func(s *Settings, n int64) { s.EventWorkers = int(n) }},
		{"sqs_receives", 1, 64, func(s *Settings, n int64) { s.SQSReceives = int(n) }},
		{"queue_frames", 1, 1 << 20, func(s *Settings, n int64) { s.QueueFrames = int(n) }},
		{"ping_interval", int64(10 * time.Millisecond), int64(time.Hour), duration(func(s *Settings, n time.Duration) { s.PingInterval, s.IdleTimeout = n, 2*time.Hour })},
		{"idle_timeout", int64(20 * time.Millisecond), int64(24 * time.Hour), duration(func(s *Settings, n time.Duration) { s.IdleTimeout, s.PingInterval = n, 10*time.Millisecond })},
		{"max_age", 0, int64(365 * 24 * time.Hour), duration(func(s *Settings, n time.Duration) { s.MaxAge = n })},
		{"handshake_timeout", int64(10 * time.Millisecond), int64(time.Hour), duration(func(s *Settings, n time.Duration) { s.HandshakeTimeout = n })},
		{"drain_timeout", 0, int64(time.Hour), duration(func(s *Settings, n time.Duration) { s.DrainTimeout = n })},
		{"drain_spread", int64(time.Millisecond), int64(time.Hour), duration(func(s *Settings, n time.Duration) { s.DrainSpread = n })},
	} {
		for n, taken := range map[int64]bool{tt.low - 1: false, tt.low: true, tt.high: true, tt.high + 1: false} {
			if tt.high == math.MaxInt64 && n == math.MinInt64 {
				continue // there is nothing above the highest number
			}
			s := good()
			tt.set(&s, n)
			err := s.Verify()
			if taken && err != nil {
				t.Errorf("%s %d: %v", tt.key, n, err)
			}
			if !taken && (eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.key+": must be between")) {
				t.Errorf("%s %d: %v", tt.key, n, err)
			}
		}
	}
}

func TestVerifySaysWhy(t *testing.T) {
	for _, tt := range []struct {
		spoil func(*Settings)
		code  eureka.Code
		want  string
	}{
		{func(s *Settings) { s.Listen = "0.0.0.0:1" }, eureka.CodeForbidden, "--insecure"},
		{func(s *Settings) { s.Listen = "localhost.example.com:1" }, eureka.CodeForbidden, "no authentication"},
		{func(s *Settings) { s.Listen = "[::]:1" }, eureka.CodeForbidden, "no authentication"},
		{func(s *Settings) { s.Listen = "127.0.0.1" }, eureka.CodeInvalid, `listen: "127.0.0.1" is not HOST:PORT`},
		{func(s *Settings) { s.Listen = "127.0.0.1:-1" }, eureka.CodeInvalid, "is not HOST:PORT"},
		{func(s *Settings) { s.Listen = "127.0.0.1:http" }, eureka.CodeInvalid, "is not HOST:PORT"},
		{func(s *Settings) { s.IdleTimeout = s.PingInterval }, eureka.CodeInvalid, "idle_timeout: must be longer than ping_interval (1s)"},
		{func(s *Settings) { s.Replicas = 2 }, eureka.CodeInvalid, "external cluster"},
		{func(s *Settings) { s.Node = "aaaaaaa1" }, eureka.CodeInvalid, "node: must be 8 characters"},
		{func(s *Settings) { s.AdminKey = "short" }, eureka.CodeInvalid, "admin_key: must have at least 32 characters"},
		{func(s *Settings) { s.Insecure, s.AdminKey = true, strings.Repeat("k", 32) }, eureka.CodeInvalid, "insecure: says that there is no authentication, but there is"},
		{func(s *Settings) { s.Sync = "never" }, eureka.CodeInvalid, "sync: must be always, or an interval of 10ms to 1h"},
		{func(s *Settings) { s.Sync = "9ms" }, eureka.CodeInvalid, "sync: must be always"},
		{func(s *Settings) { s.AllowedHosts = []string{"http://x"} }, eureka.CodeInvalid, "allowed_hosts"},
		{func(s *Settings) { s.AllowedOrigins = []string{"app.example.com"} }, eureka.CodeInvalid, "allowed_origins"},
	} {
		s := good()
		tt.spoil(&s)
		if err := s.Verify(); eureka.CodeOf(err) != tt.code || !strings.Contains(eureka.MessageOf(err), tt.want) {
			t.Errorf("%+v, want %s …%s…", err, tt.code, tt.want)
		}
	}
}

func TestSizesAreWrittenAsTheyAreRead(t *testing.T) {
	for size, want := range map[Size]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1025: "1025", 3 << 10: "3KiB", 1 << 20: "1MiB", 1536 << 10: "1536KiB", 5 << 30: "5GiB",
	} {
		text, err := size.MarshalText()
		if err != nil || string(text) != want {
			t.Errorf("%d is written %s, %v; want %s", int64(size), text, err, want)
		}
	}
}

// TestValues: what `eureka config` shows of each kind of setting.
func TestValues(t *testing.T) {
	s := good()
	s.NATS, s.AllowedOrigins, s.MaxBodyBytes = "nats://bob:s3cret@h:4222", []string{"https://a.example.com", "null"}, 2<<20
	got := map[string]string{}
	for _, d := range Declarations() {
		got[d.Key] = d.Value(s)
	}
	want := map[string]string{
		"nats": "nats://xxxxx@h:4222", "allowed_origins": "https://a.example.com,null", "max_body_bytes": "2MiB", "insecure": "false",
		"ping_interval": "1s", "undeclared_channels": "allow", "replicas": "1", "node": "",
	}
	for key := range got {
		if _, asked := want[key]; !asked {
			delete(got, key)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScalars(t *testing.T) {
	for _, tt := range []struct{ text, key, want, fault string }{
		{"replicas: 3", "replicas", "3", ""},
		{"max_body_bytes: 1048576", "max_body_bytes", "1048576", ""},
		{"listen: '127.0.0.1:1' # here", "listen", "127.0.0.1:1", ""},
		{`"listen": 127.0.0.1:1`, "listen", "127.0.0.1:1", ""},
		{"nats:", "nats", "", ""},
		{"allowed_origins: []", "allowed_origins", "", ""},
		{"allowed_origins:\n- a\n- b\n", "allowed_origins", "a,b", ""},
		{"allowed_origins: [a, {b: c}]", "", "", "takes one value, not a section"},
		{"replicas: 1.5", "", "", "no number"},
		{"max_age: 5", "", "", `"5" is no duration; write 500ms`},
		{"insecure: maybe", "", "", "neither true nor false"},
		{"undeclared_channels: DENY", "", "", `"DENY" is none of auto, allow, deny`},
		{"replicas: 1\nreplicas: 2", "", "", "is not YAML"},
		{"1: 2", "", "", "f.yaml"},
	} {
		f, err := parseFile("f.yaml", []byte(tt.text))
		if tt.fault != "" {
			if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), tt.fault) {
				t.Errorf("%q: %v, want …%s…", tt.text, err, tt.fault)
			}
			continue
		}
		if got, ok := f.Value(tt.key); err != nil || !ok || got != tt.want {
			t.Errorf("%q: %q, %v", tt.text, got, err)
		}
	}
	if err := Check("nonsense", "1"); err == nil {
		t.Error("a key that is none was taken")
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eureka.yaml")
	if err := os.WriteFile(path, []byte("max_age: 2h\nlog_level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(path)
	if err != nil || f.Path != path || len(f.values) != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	if _, ok := f.Value("listen"); ok {
		t.Error("a key that is not in the file has a value")
	}
	if err := os.WriteFile(path, []byte("\nmax_agee: 2h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); eureka.MessageOf(err) != path+`:2: unknown key "max_agee", did you mean "max_age"?` {
		t.Errorf("a misspelt key: %v", err)
	}
}
