package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"eureka/internal/deploy/deploytest"
)

// account is a fake AWS account that this process's AWS SDK uses, and a program that can be deployed.
func account(t *testing.T) (cloud *deploytest.Cloud, bootstrap string) {
	t.Helper()
	cloud = deploytest.New(t)
	for _, pair := range cloud.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	t.Setenv("AWS_PROFILE", "")
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	bootstrap = filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "build", "-o", bootstrap, source)
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return cloud, bootstrap
}

func TestDeployInfoRemove(t *testing.T) {
	cloud, bootstrap := account(t)
	got := run(t, nil, "info")
	if got.code != 6 || !strings.Contains(got.stderr, `stage "dev" is not deployed in eu-west-1`) {
		t.Errorf("info of nothing: %+v", got)
	}
	got = run(t, nil, "deploy", "--dry-run", "--bootstrap", bootstrap)
	if got.code != 0 || !strings.Contains(got.stdout, `"AWSTemplateFormatVersion": "2010-09-09"`) || !strings.Contains(got.stdout, "FanoutFunction") || !cloud.Empty() {
		t.Errorf("dry run: %d %s", got.code, got.stderr)
	}
	got = run(t, nil, "deploy", "--bootstrap", bootstrap, "--allowed-origins", "https://a.example")
	for _, want := range []string{
		"admin key ", "shown this once", "wss://SocketApi.execute-api.eu-west-1.amazonaws.com/dev", "https://HttpApi.execute-api.eu-west-1.amazonaws.com",
		"wscat -c 'wss://", "CREATE_COMPLETE",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("deploy does not print %q:\n%s", want, got.stdout)
		}
	}
	if got.code != 0 || !strings.Contains(got.stderr, "uploading the functions") || !strings.Contains(got.stderr, "CREATE_COMPLETE              WsFunction                 Lambda::Function") {
		t.Errorf("deploy: %d\n%s", got.code, got.stderr)
	}
	if cloud.Parameter("AllowedOrigins") != "https://a.example" || cloud.Parameter("Version") != version() {
		t.Errorf("parameters: %q, %q", cloud.Parameter("AllowedOrigins"), cloud.Parameter("Version"))
	}
	key := cloud.Parameter("AdminKey")
	got = run(t, nil, "deploy", "--bootstrap", bootstrap)
	if got.code != 0 || strings.Contains(got.stdout, "admin key") || !strings.Contains(got.stderr, "nothing to change") || cloud.Parameter("AdminKey") != key {
		t.Errorf("deployed again: %+v", got)
	}
	var info struct {
		Outputs map[string]string
		Status  string
	}
	got = run(t, nil, "--json", "info")
	if err := json.Unmarshal([]byte(got.stdout), &info); err != nil || info.Status != "CREATE_COMPLETE" || info.Outputs["HttpUrl"] == "" || got.stderr != "" {
		t.Errorf("info: %v %+v", err, got)
	}
	got = run(t, nil, "remove")
	if !strings.Contains(got.stderr, "eureka-dev in eu-west-1, CREATE_COMPLETE, ") {
		t.Errorf("remove does not say what there is: %s", got.stderr)
	}
	if got.code == 0 || cloud.Empty() || !strings.Contains(got.stderr, "type dev to go on") {
		t.Errorf("remove, another answer: %+v", got)
	}
	if got = run(t, nil, "remove", "--yes"); got.code != 0 || !cloud.Empty() || got.stdout != "removed dev\n" {
		t.Errorf("remove: %+v", got)
	}
}

// TestDeployInstalled: a binary that was built with the functions deploys where there is neither source nor Go; another one says what to do.
func TestDeployInstalled(t *testing.T) {
	cloud, _ := account(t)
	dir := t.TempDir()
	zip, overlay := filepath.Join(dir, "zip"), filepath.Join(dir, "overlay.json")
	place, err := filepath.Abs("../../internal/deploy/functions.zip")
	if err != nil {
		t.Fatal(err)
	}
	files, err := json.Marshal(map[string]map[string]string{"Replace": {place: zip}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{zip: "the functions", overlay: string(files)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "eureka")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "-tags", "embedfunctions", "-overlay", overlay, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.CommandContext(t.Context(), program, "deploy")
	command.Dir, command.Env = dir, append(cloud.Environ(), "PATH=/nowhere", "HOME="+dir)
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "wscat -c") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := cloud.Contents(); len(got) != 1 || got[0] != "the functions" {
		t.Errorf("it uploads %q", got)
	}
	t.Chdir(dir)
	if got := run(t, nil, "deploy"); got.code != 6 || !strings.Contains(got.stderr, "`make build` in a clone") {
		t.Errorf("without source and functions: %+v", got)
	}
}

func TestDeployRefused(t *testing.T) {
	cloud, bootstrap := account(t)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"deploy", "--stage", "My-Stage"}, 3, "stage: "},
		{[]string{"deploy", "--bootstrap", "/nowhere"}, 3, "the bootstrap cannot be read"},
		{[]string{"deploy", "--bootstrap", os.Args[0]}, 3, "no Linux program for arm64"},
		{[]string{"deploy", "--bootstrap", bootstrap, "--auth", "perhaps"}, 3, "auth: must be one of service, iam, none"},
		{[]string{"deploy", "--bootstrap", bootstrap, "--jwt-public-key", "/nowhere"}, 3, "jwt_public_key"},
	} {
		if got := run(t, nil, tt.args...); got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
	cloud.Deny = []string{"CreateChangeSet"}
	if got := run(t, nil, "--json", "deploy", "--bootstrap", bootstrap); got.code != 5 || !strings.Contains(got.stderr, `"code":"forbidden"`) {
		t.Errorf("denied: %+v", got)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	for _, args := range [][]string{{"info"}, {"remove"}, {"remove", "--yes"}, {"deploy", "--bootstrap", bootstrap}} {
		got := run(t, nil, args...)
		if got.code != 4 || !strings.Contains(got.stderr, "there are no AWS credentials") || strings.Count(got.stderr, "\n") != 1 || strings.Contains(got.stderr, "--token") {
			t.Errorf("%v without credentials: %+v", args, got)
		}
	}
	if got := run(t, nil, "deploy", "--dry-run"); !strings.Contains(got.stdout, `"AWSTemplateFormatVersion"`) {
		t.Errorf("a dry run without an account shows no template: %+v", got)
	}
	if got := run(t, nil, "info", "--profile", "nobody"); got.code != 3 || !strings.Contains(got.stderr, "profile: there is no AWS profile") {
		t.Errorf("no profile: %+v", got)
	}
	t.Setenv("AWS_REGION", "")
	if got := run(t, nil, "info"); got.code != 3 || !strings.Contains(got.stderr, "region: ") {
		t.Errorf("no region: %+v", got)
	}
}
