package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for something that should happen soon, on a loaded machine too.
const patience = 60 * time.Second

// tools is where the Makefile installs what the scripts need.
const tools = "../.tools"

// mode is what the service of a script runs on.
type mode string

const (
	self mode = "self" // one process, on the NATS inside it or an external one
	aws  mode = "aws"  // the functions, behind the simulator of API Gateway and Lambda, on stand-ins of DynamoDB, SQS and SNS
)

var binDir string // the built binary

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "eureka-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binDir = dir
	if err := build("eureka", "eureka/cmd/eureka"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer standIns.stop()
	// Scripts wait more than they work: for queues, leases and the ends of credentials.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds a program into binDir.
func build(name, from string) error {
	args := []string{"build", "-o", filepath.Join(binDir, name)}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(context.Background(), "go", append(args, from)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building %s: %w\n%s", from, err, out)
	}
	return nil
}

// TestScripts runs testdata/*.txtar in the mode self.
func TestScripts(t *testing.T) {
	testscript.Run(t, params(t, self, "testdata/*.txtar"))
}

// TestScriptsGoroutines runs them with a goroutine for each socket, as on other systems and with TLS.
func TestScriptsGoroutines(t *testing.T) {
	p := params(t, self, "testdata/*.txtar")
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		env.Setenv("EUREKA_SOCKETS", "goroutines")
		return setup(env)
	}
	testscript.Run(t, p)
}

// TestScriptsAWS runs the same scripts in the mode aws.
func TestScriptsAWS(t *testing.T) {
	standIns.need(t)
	testscript.Run(t, params(t, aws, "testdata/*.txtar"))
}

// TestFaultsAWS runs testdata/aws/*.txtar: what goes wrong in AWS, a story for each.
func TestFaultsAWS(t *testing.T) {
	standIns.need(t)
	testscript.Run(t, params(t, aws, "testdata/aws/*.txtar"))
}

// params are those of the scripts that match a pattern, in a mode.
func params(t *testing.T, m mode, pattern string) testscript.Params {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d scripts, %v", pattern, len(files), err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs(filepath.Join(tools, "node_modules", ".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		Cmds:                verbs(),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", strings.Join([]string{binDir, bin, os.Getenv("PATH")}, string(os.PathListSeparator)))
			env.Setenv("ROOT", root)
			// make run builds with the module cache of whoever runs the tests.
			for _, name := range []string{"GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOPROXY"} {
				if value, err := exec.CommandContext(t.Context(), "go", "env", name).Output(); err == nil {
					env.Setenv(name, strings.TrimSpace(string(value)))
				}
			}
			w := &world{mode: m, processes: map[string]*process{}, env: env}
			env.Values[worldKey{}] = w
			env.Defer(w.end)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == string(self) || cond == string(aws) {
				return cond == string(m), nil
			}
			tool, ok := strings.CutPrefix(cond, "tool:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			if _, err := exec.LookPath(tool); err == nil {
				return true, nil
			}
			if _, err := os.Stat(filepath.Join(bin, tool)); err == nil {
				return true, nil
			}
			if os.Getenv("CI") == "true" {
				t.Errorf("%s is not installed; `make tools` installs it", tool)
			}
			return false, nil
		},
	}
}
