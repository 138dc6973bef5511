package deploy

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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

// FindBootstrap finds the program to deploy: beside the running one as eureka-lambda-arm64, as releases have it, or built from the source that the
// working directory is in. CodeNotFound without either.
func FindBootstrap(ctx context.Context) ([]byte, error) {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), "eureka-lambda-arm64"); exists(path) {
			return ReadBootstrap(path)
		}
	}
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
		return "", eureka.WrapError(eureka.CodeNotFound, errors.Join(err), "there is no eureka-lambda-arm64 beside this program and no source to build it from; give --bootstrap FILE, or run this in a clone of the project")
	}
	return dir, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
