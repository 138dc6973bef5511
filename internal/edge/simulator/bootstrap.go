package simulator

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"eureka"
)

// buildFlags are those of the deployment.
func buildFlags() []string {
	return []string{"-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w"}
}

// bootstrap returns the path of the functions' program: the one that was named, the one beside this program, or one that is built into dir from
// the source that the working directory is in.
func (s *Simulator) bootstrap(ctx context.Context, dir string) (string, error) {
	if path := s.options.Bootstrap; path != "" {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return "", eureka.WrapError(eureka.CodeInvalid, err, "bootstrap: %s is no program", path)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "eureka-lambda-"+runtime.GOARCH)
		if _, err := os.Stat(beside); err == nil && runtime.GOOS == "linux" { // it is built for Lambda, which is Linux
			return beside, nil
		}
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	module, root, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !ok || module != "eureka" {
		return "", eureka.WrapError(eureka.CodeNotFound, err,
			"there are no functions to run: give --bootstrap FILE, a build of cmd/eureka-lambda, or run this in a clone of the project")
	}
	s.progress("building the functions")
	path := filepath.Join(dir, "bootstrap")
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, buildFlags()...), "-o", path, "./cmd/eureka-lambda")...) //nolint:gosec // fixed
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", eureka.WrapError(eureka.CodeInvalid, err, "the functions cannot be built: %s", strings.TrimSpace(string(out)))
	}
	return path, nil
}
