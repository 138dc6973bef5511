package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for something that should happen soon, on a loaded machine too.
const patience = 60 * time.Second

// tools is where the Makefile installs what the scripts need.
const tools = "../.tools"

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
	args := []string{"build", "-o", filepath.Join(dir, "eureka")}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(context.Background(), "go", append(args, "eureka/cmd/eureka")...).CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestScripts runs testdata/*.txtar in the mode self: one process on the NATS inside it.
func TestScripts(t *testing.T) {
	testscript.Run(t, params(t, "testdata"))
}

func params(t *testing.T, dir string) testscript.Params {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs(filepath.Join(tools, "node_modules", ".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Dir:                 dir,
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
			w := &world{processes: map[string]*process{}, env: env}
			env.Values[worldKey{}] = w
			env.Defer(w.end)
			return nil
		},
		Condition: func(cond string) (bool, error) {
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
