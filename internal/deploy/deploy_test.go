package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"eureka"
	"eureka/internal/deploy"
	"eureka/internal/deploy/deploytest"
)

type world struct {
	*deploytest.Cloud

	t      *testing.T
	deploy *deploy.Deployer
	told   []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, Cloud: deploytest.New(t)}
	settings, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithRegion(deploytest.Region), awsconfig.WithBaseEndpoint(w.URL),
		awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("key", "secret", "")), awsconfig.WithRetryMaxAttempts(3)) // as deploy has it: connections break on a loaded machine too
	if err != nil {
		t.Fatal(err)
	}
	w.deploy, err = deploy.New(deploy.Options{AWS: settings, Stage: "dev", Poll: time.Millisecond, Progress: func(e deploy.Event) {
		w.told = append(w.told, strings.TrimSpace(strings.Join([]string{e.Text, e.Resource, e.Status, e.Reason}, " ")))
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) run(r deploy.Request) deploy.Result {
	w.t.Helper()
	if r.Zip == nil {
		r.Zip = []byte("zip")
	}
	result, err := w.deploy.Deploy(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func (w *world) count(text string) int {
	n := 0
	for _, line := range w.told {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestLifeOfAStage: created, deployed again without a change, with new code, with other settings, shown, removed.
func TestLifeOfAStage(t *testing.T) {
	w := newWorld(t)
	w.Waiting = 7
	if _, err := w.deploy.Info(t.Context()); eureka.CodeOf(err) != eureka.CodeNotFound {
		t.Errorf("info of nothing: %v", err)
	}
	first := w.run(deploy.Request{Version: "1.0.0"})
	if len(first.AdminKey) < 32 || w.Parameter("AdminKey") != first.AdminKey {
		t.Errorf("the first deployment made the admin key %q", first.AdminKey)
	}
	info := *first.Info
	if info.Status != "CREATE_COMPLETE" || info.Version != "1.0.0" || info.Resources != len(resources(t)) || info.Waiting["tasksDead"] != 7 {
		t.Errorf("it shows %+v", info)
	}
	if info.WebSocket() != "wss://SocketApi.execute-api.eu-west-1.amazonaws.com/dev" || info.HTTP() != "https://HttpApi.execute-api.eu-west-1.amazonaws.com" {
		t.Errorf("the endpoints are %q and %q", info.WebSocket(), info.HTTP())
	}
	for name := range resources(t) {
		if w.count(name+" CREATE_COMPLETE") != 1 {
			t.Errorf("%s was told %d times", name, w.count(name+" CREATE_COMPLETE"))
		}
	}
	if !w.Private() {
		t.Error("the bucket is open")
	}

	w.told = nil
	if again := w.run(deploy.Request{Version: "1.0.0"}); len(again.Changes) != 0 || again.AdminKey != "" || w.count("_COMPLETE") != 0 {
		t.Errorf("the same again changed %v and told %v", again.Changes, w.told)
	}
	code := w.run(deploy.Request{Version: "1.0.0", Zip: []byte("other")})
	if got := fmt.Sprint(code.Changes); len(code.Changes) != 5 || !strings.Contains(got, "Modify FanoutFunction AWS::Lambda::Function") {
		t.Errorf("new code changes %s", got)
	}
	if w.count("CREATE_COMPLETE") != 0 || w.count("UPDATE_COMPLETE") != 6 {
		t.Errorf("told: %q", w.told)
	}
	w.run(deploy.Request{Version: "1.0.0", Zip: []byte("other"), Parameters: deploy.Parameters{"AllowedOrigins": "https://a.example"}})
	if w.Parameter("AllowedOrigins") != "https://a.example" || w.Parameter("AdminKey") != first.AdminKey {
		t.Errorf("the settings are %q and %q", w.Parameter("AllowedOrigins"), w.Parameter("AdminKey"))
	}

	if err := w.deploy.Remove(t.Context()); err != nil || !w.Empty() {
		t.Errorf("removed: %v, empty: %v, objects %v", err, w.Empty(), w.Objects())
	}
	if err := w.deploy.Remove(t.Context()); eureka.CodeOf(err) != eureka.CodeNotFound {
		t.Errorf("removed again: %v", err)
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	result := w.run(deploy.Request{Version: "1", DryRun: true})
	if len(result.Changes) != len(resources(t)) || result.AdminKey != "" || result.Info != nil || !w.Empty() {
		t.Errorf("it would change %d resources; left: %v", len(result.Changes), w.Calls())
	}
	w.run(deploy.Request{Version: "1"})
	calls := len(w.Calls())
	result = w.run(deploy.Request{Version: "2", DryRun: true})
	if len(result.Changes) == 0 || w.Parameter("Version") != "1" {
		t.Errorf("it would change %v; the version is %s", result.Changes, w.Parameter("Version"))
	}
	for _, call := range w.Calls()[calls:] {
		if strings.HasPrefix(call, "Put") || strings.HasPrefix(call, "Execute") || call == "CreateBucket" || call == "DeleteStack" {
			t.Errorf("a dry run calls %s", call)
		}
	}
}

// TestFailedCreation: what failed is told with its reason, and the next deployment begins afresh.
func TestFailedCreation(t *testing.T) {
	w := newWorld(t)
	w.Fail = "SocketStage"
	_, err := w.deploy.Deploy(t.Context(), deploy.Request{Zip: []byte("z"), Version: "1"})
	if eureka.CodeOf(err) != eureka.CodeUnavailable || w.count("SocketStage CREATE_FAILED Resource handler returned message: no") != 1 {
		t.Errorf("%v; told %q", err, w.told)
	}
	w.Fail = ""
	if _, err := w.deploy.Deploy(t.Context(), deploy.Request{Zip: []byte("z"), Version: "1", DryRun: true}); eureka.CodeOf(err) != eureka.CodeConflict {
		t.Errorf("a dry run after it: %v", err)
	}
	if result := w.run(deploy.Request{Version: "1"}); result.Info.Status != "CREATE_COMPLETE" {
		t.Errorf("then %+v", result.Info)
	}
	w.Fail = "FanoutFunction"
	if _, err := w.deploy.Deploy(t.Context(), deploy.Request{Zip: []byte("y"), Version: "1"}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a failed update: %v", err)
	}
	w.Fail = ""
	w.run(deploy.Request{Version: "1", Zip: []byte("x")})
}

func TestRefused(t *testing.T) {
	for _, action := range []string{"GetCallerIdentity", "CreateBucket", "PutObject", "CreateChangeSet", "ExecuteChangeSet", "DescribeStacks", "PutPublicAccessBlock"} {
		t.Run(action, func(t *testing.T) {
			w := newWorld(t)
			w.Deny = []string{action}
			_, err := w.deploy.Deploy(t.Context(), deploy.Request{Zip: []byte("z"), Version: "1"})
			if eureka.CodeOf(err) != eureka.CodeForbidden || !strings.Contains(eureka.MessageOf(err), action) {
				t.Errorf("%v", err)
			}
		})
	}
	w := newWorld(t)
	for _, tt := range []struct{ parameter, value, want string }{
		{"Nope", "1", "nope: is no parameter"},
		{"Stage", "other", "stage: is no parameter"},
		{"Auth", "maybe", "auth: must be one of service, iam, none"},
		{"LogRetentionDays", "2", "log_retention_days: must be one of 1, 3, 5"},
		{"FanoutConcurrency", "many", "fanout_concurrency: must be a number from 2 to 1000"},
		{"FanoutConcurrency", "1", "fanout_concurrency: must be a number from 2 to 1000"},
		{"AdminKey", "short", "admin_key: must have at least 32 characters"},
		{"JwtSecret", "short", "jwt_secret: has 5 bytes"},
		{"JwtPublicKeyPem", "no key", "jwt_public_key: "},
		{"JwtJwks", "https://a.example/keys,ftp://b.example", "jwt_jwks: "},
		{"AllowedOrigins", "https://a.example,b/c", "allowed_origins: "},
		{"AlarmTopic", "alarms", "alarm_topic: is no ARN"},
	} {
		r := deploy.Request{Zip: []byte("z"), Version: "1", Parameters: deploy.Parameters{tt.parameter: tt.value}}
		if _, err := w.deploy.Deploy(t.Context(), r); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.want) {
			t.Errorf("%s %s: %v", tt.parameter, tt.value, err)
		}
	}
	if calls := w.Calls(); len(calls) != 0 {
		t.Errorf("what cannot be deployed is found by %v", calls)
	}
	for _, stage := range []string{"", "Dev", "1a", "a-b", strings.Repeat("a", 17), "a\nb"} {
		if _, err := deploy.New(deploy.Options{AWS: aws.Config{Region: "eu-west-1"}, Stage: stage}); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("stage %q: %v", stage, err)
		}
	}
	if _, err := deploy.New(deploy.Options{Stage: "dev"}); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("no region: %v", err)
	}
}

// TestRefusedChange: of a change that CloudFormation refuses nothing is left, neither of the first nor of a later one.
func TestRefusedChange(t *testing.T) {
	w := newWorld(t)
	w.Refuse = "Transform does not exist"
	refused := func() {
		t.Helper()
		_, err := w.deploy.Deploy(t.Context(), deploy.Request{Zip: []byte("z"), Version: "2"})
		if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), w.Refuse) {
			t.Errorf("%v", err)
		}
		if w.ChangeSets() != 0 {
			t.Error("a change set is left")
		}
	}
	refused()
	w.Refuse = ""
	w.run(deploy.Request{Version: "1"})
	w.Refuse = "Transform does not exist"
	refused()
	if info, err := w.deploy.Info(t.Context()); err != nil || info.Version != "1" {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestToService: a stage that was open is not closed without a credential with which its operator could come in.
func TestToService(t *testing.T) {
	w := newWorld(t)
	if first := w.run(deploy.Request{Version: "1", Parameters: deploy.Parameters{"Auth": "none"}}); first.AdminKey != "" {
		t.Error("an open stage was given an admin key")
	}
	service := deploy.Request{Zip: []byte("zip"), Version: "1", Parameters: deploy.Parameters{"Auth": "service"}}
	if _, err := w.deploy.Deploy(t.Context(), service); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), "auth: ") || w.Parameter("Auth") != "none" {
		t.Errorf("%v, now %s", err, w.Parameter("Auth"))
	}
	service.Parameters["AdminKey"] = strings.Repeat("k", 32)
	w.run(service)
	delete(service.Parameters, "AdminKey")
	if w.run(service); w.Parameter("Auth") != "service" || w.Parameter("AdminKey") != strings.Repeat("k", 32) {
		t.Errorf("it is %s with %q", w.Parameter("Auth"), w.Parameter("AdminKey"))
	}
}

// TestBootstrap: the zip is the same for the same program, and only a program for Lambda's machines is taken.
func TestBootstrap(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		path := filepath.Join(dir, arch)
		command := exec.CommandContext(t.Context(), "go", "build", "-o", path, source)
		command.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := deploy.ReadBootstrap(path)
		if (err == nil) != (arch == "arm64") {
			t.Errorf("%s: %v", arch, err)
		}
		if err != nil {
			continue
		}
		one, err := deploy.Zip(text)
		if err != nil {
			t.Fatal(err)
		}
		two, err := deploy.Zip(text)
		if err != nil || string(one) != string(two) || len(one) >= len(text) {
			t.Errorf("zips of %d and %d bytes: %v", len(one), len(two), err)
		}
	}
	for _, path := range []string{source, filepath.Join(dir, "missing"), dir} {
		if _, err := deploy.ReadBootstrap(path); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}
