package deploy

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"eureka"
)

// bootstrapName is what the runtime provided.al2023 starts.
const bootstrapName = "bootstrap"

// maxBootstrap is what a bootstrap may have at the most; the functions' own is far below. Lambda takes 250 MB.
const maxBootstrap = 200 << 20

// Zip makes the functions' zip of a bootstrap. The same bytes make the same zip.
func Zip(bootstrap []byte) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	header := &zip.FileHeader{Name: bootstrapName, Method: zip.Deflate, Modified: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	if err == nil {
		_, err = w.Write(bootstrap)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInternal, err, "the zip cannot be made")
	}
	return out.Bytes(), nil
}

func codeKey(zip []byte) string {
	sum := sha256.Sum256(zip)
	return "functions-" + hex.EncodeToString(sum[:16]) + ".zip"
}

// ReadBootstrap reads a built cmd/eureka-lambda. CodeInvalid when it is no program for Lambda's arm64 machines.
func ReadBootstrap(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the person who deploys names it
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the bootstrap cannot be read: %s", path)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxBootstrap+1))
	if err != nil || len(text) > maxBootstrap {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the bootstrap cannot be read: %s", path)
	}
	if !isArm64(text) {
		return nil, eureka.FieldError("bootstrap", "%s is no Linux program for arm64; build it with GOOS=linux GOARCH=arm64", path)
	}
	return text, nil
}

// isArm64 reads the ELF header: 64 bits, little-endian, machine 183.
func isArm64(program []byte) bool {
	const machine = 18
	return len(program) > machine+2 && string(program[:4]) == "\x7fELF" && program[4] == 2 && program[5] == 1 &&
		program[machine] == 183 && program[machine+1] == 0
}

// BuildFlags are those the functions are built with: without what Lambda's older runtimes needed, without symbols, and the same on every machine.
func BuildFlags() []string {
	return []string{"-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w"}
}

// FindZip finds the functions to deploy: those that this program carries, those beside it as eureka-lambda-arm64, or what is built from the source that
// the working directory is in. CodeNotFound without any.
func FindZip(ctx context.Context) ([]byte, error) {
	if len(carried) > 0 {
		return carried, nil
	}
	find := BuildBootstrap
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), "eureka-lambda-arm64"); exists(path) {
			find = func(context.Context) ([]byte, error) { return ReadBootstrap(path) }
		}
	}
	bootstrap, err := find(ctx)
	if err != nil {
		return nil, err
	}
	return Zip(bootstrap)
}

// BuildBootstrap builds the functions' program from the source that the working directory is in. CodeNotFound when it is in none.
func BuildBootstrap(ctx context.Context) ([]byte, error) {
	root, err := sourceRoot(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "eureka-lambda")
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInternal, err, "no temporary directory")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, bootstrapName)
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, BuildFlags()...), "-o", path, "./cmd/eureka-lambda")...) //nolint:gosec // fixed
	command.Dir = root
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the functions cannot be built: %s", strings.TrimSpace(string(out)))
	}
	return ReadBootstrap(path)
}

// sourceRoot is the root of this project's source, when the working directory is in it.
func sourceRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	module, dir, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !ok || module != "eureka" {
		return "", eureka.Errorf(eureka.CodeNotFound,
			"there are no functions to deploy: this program was built without them, and the working directory is in no clone of the project, from which they could be built "+
				"with Go; `make build` in a clone makes a bin/eureka that carries them anywhere, and --bootstrap FILE names a build of cmd/eureka-lambda")
	}
	return dir, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
