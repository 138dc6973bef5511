package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

func TestMarkdownGolden(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Markdown()); diff != "" {
		t.Errorf("%s (-file +code); run `make gen`:\n%s", path, diff)
	}
}

func TestEverySettingIsDeclaredWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Declarations() {
		if d.Key == "" || d.Help == "" || !strings.HasPrefix(d.Env, EnvPrefix) || seen[d.Key] {
			t.Errorf("%+v", d)
		}
		seen[d.Key] = true
		if err := d.check(d.Default); err != nil && d.Default != "" {
			t.Errorf("%s: its default is refused: %v", d.Key, err)
		}
	}
	if !seen["max_body_bytes"] || !seen["nats"] || len(seen) < 20 {
		t.Errorf("declared: %v", seen)
	}
}

func TestFiles(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"good", "listen: 127.0.0.1:1\nallowed_origins: [https://a.example, https://b.example]\nreplicas: 3\ninsecure: true\n", ""},
		{"empty", "", ""},
		{"unknown key", "replicas: 1\nlisen: x\n", `f.yaml:2: unknown key "lisen", did you mean "listen"?`},
		{"key that starts another", "queue_bytes: 1MiB\nqueue: 1\n", `f.yaml:2: unknown key "queue"`},
		{"nothing near", "zzzzzzzzzzz: 1\n", `f.yaml:1: unknown key "zzzzzzzzzzz"`},
		{"wrong duration", "\n\nping_interval: soon\n", `f.yaml:3: ping_interval: "soon" is no duration`},
		{"wrong number", "replicas: many\n", `"many" is no number`},
		{"wrong size", "queue_bytes: 3 apples\n", "is no size"},
		{"wrong choice", "log_level: loud\n", "none of debug, info, warn, error"},
		{"wrong bool", "insecure: T\n", "neither true nor false"},
		{"a section", "listen:\n  host: x\n", "takes one value"},
		{"a list", "- listen\n", "is not YAML of the form key: value"},
		{"broken", "nats: nats://bob:s3cret@h\n  x: [", "is not YAML of the form key: value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseFile("f.yaml", []byte(tt.text))
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
		})
	}
	f, err := parseFile("f.yaml", []byte("allowed_origins: [a, b]\nmax_age: 2h\n"))
	if v, ok := f.Value("allowed_origins"); err != nil || !ok || v != "a,b" {
		t.Errorf("%q, %v", v, err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]eureka.Code{big: eureka.CodeInvalid, t.TempDir(): eureka.CodeInvalid, "missing.yaml": eureka.CodeNotFound} {
		if _, err := ReadFile(path); eureka.CodeOf(err) != code {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		pair string
		want string
	}{
		{"EUREKA_LISTEN=127.0.0.1:1", ""},
		{"EUREKA_LISTEN=", ""},
		{"EUREKA_CONFIG=x", ""},
		{"EUREKA_URL=http://x", ""},
		{"OTHER=1", ""},
		{"EUREKA_PORT=tcp://10.0.0.1:8832", ""},
		{"EUREKA_SERVICE_HOST=10.0.0.1", ""},
		{"EUREKA_PORT_8832_TCP_ADDR=10.0.0.1", ""},
		{"EUREKA_SOCKETS_SERVICE_PORT_HTTP=1", ""},
		{"EUREKA_LISTN=x", `did you mean "EUREKA_LISTEN"?`},
		{"EUREKA_REPLICAS=many", "EUREKA_REPLICAS: \"many\" is no number"},
	} {
		err := CheckEnvironment([]string{tt.pair})
		if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(eureka.MessageOf(err), tt.want)) {
			t.Errorf("%s: %v", tt.pair, err)
		}
	}
}

func TestRedaction(t *testing.T) {
	for in, want := range map[string]string{
		"nats://h:4222":                      "nats://h:4222",
		"nats://bob:s3cret@h:4222":           "nats://xxxxx@h:4222",
		"nats://bob:12#s3cret@h":             "nats://xxxxx@h",
		"nats://bob:a,s3cret@h":              "nats://xxxxx@h",
		"nats://h?token=s3cret":              "nats://h?xxxxx",
		"nats://a:s3cret@h1,tls://s3cret@h2": "nats://xxxxx@h1,tls://xxxxx@h2",
		"bob:s3cret@h":                       "xxxxx@h",
		"":                                   "",
	} {
		if got := redact(in); got != want || strings.Contains(got, "s3cret") {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func good() Settings {
	return Settings{
		Listen: "127.0.0.1:8832", DataDir: "d", Namespace: "eureka", Replicas: 1, UndeclaredChannels: UndeclaredAllow, MaxBodyBytes: 1 << 20,
		MaxSubscriptions: 1, QueueBytes: 1 << 20, QueueFrames: 1, PingInterval: time.Second, IdleTimeout: time.Minute,
		HandshakeTimeout: time.Second, DrainTimeout: time.Second, DrainSpread: time.Second, Sync: "1s", HistoryCacheBytes: 1 << 20,
		EventWorkers: 1, SQSReceives: 1, NATSEvents: NATSEventsOff,
	}
}

func TestVerify(t *testing.T) {
	if err := good().Verify(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Settings){
		"listen":            func(s *Settings) { s.Listen = "nonsense" },
		"listen port":       func(s *Settings) { s.Listen = "127.0.0.1:70000" },
		"open to all":       func(s *Settings) { s.Listen = "0.0.0.0:1" },
		"open to the net":   func(s *Settings) { s.Listen = "192.168.0.1:1" },
		"open by default":   func(s *Settings) { s.Listen = ":1" },
		"replicas":          func(s *Settings) { s.Replicas = 9 },
		"replicas embedded": func(s *Settings) { s.Replicas = 3 },
		"namespace":         func(s *Settings) { s.Namespace = "a b" },
		"node":              func(s *Settings) { s.Node = "NODE" },
		"origin":            func(s *Settings) { s.AllowedOrigins = []string{"nonsense"} },
		"body":              func(s *Settings) { s.MaxBodyBytes = 1 },
		"queue":             func(s *Settings) { s.QueueBytes = 1 },
		"ping":              func(s *Settings) { s.PingInterval = 0 },
		"idle below ping":   func(s *Settings) { s.IdleTimeout = s.PingInterval },
		"age":               func(s *Settings) { s.MaxAge = -1 },
		"profiles":          func(s *Settings) { s.Pprof = "6060" },
		"profiles' port":    func(s *Settings) { s.Pprof = "127.0.0.1:70000" },
		"profiles for all":  func(s *Settings) { s.Pprof = "0.0.0.0:6060" },
		"data dir":          func(s *Settings) { s.DataDir = "" },
	} {
		s := good()
		spoil(&s)
		if err := s.Verify(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, listen := range []string{"localhost:0", "[::1]:1", "127.9.9.9:1"} {
		s := good()
		if s.Listen = listen; s.Verify() != nil {
			t.Errorf("%s: %v", listen, s.Verify())
		}
	}
	s := good()
	if s.Pprof = "localhost:0"; s.Verify() != nil {
		t.Error("profiles on loopback are refused")
	}
	if s.Listen, s.Insecure = "0.0.0.0:1", true; s.Verify() != nil {
		t.Error("insecure does not open the service")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1": 1, "5B": 5, "128KB": 128000, "1MiB": 1 << 20, "2 GiB": 2 << 30, "1GB": 1e9} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "1TiB", "99999999999GiB", "0x10"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("1MiB")
	f.Add("128KB")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s || s < 0 {
			t.Errorf("%q is %d, and %q is %d, %v", text, s, s.String(), again, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nallowed_origins: [a, b]\n")
	f.Add("max_age: 2h\nreplicas: 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		file, err := parseFile("f.yaml", []byte(text))
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		for key, value := range file.values {
			if err := Check(key, value); err != nil {
				t.Fatalf("%s: %q was taken, and is %v", key, value, err)
			}
		}
	})
}
