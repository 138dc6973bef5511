package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"eureka/internal/awslocal"
	"eureka/internal/rule"
)

// local is the DynamoDB Local that all tests of the package share; each has a table of its own.
var local struct {
	once    sync.Once
	process *awslocal.Process
	err     error
}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "4") // a number is always taken
	}
	m.Run()
	if local.process != nil {
		local.process.Stop()
	}
}

// endpoint is where DynamoDB Local listens. Tests are skipped where it is not installed, except on CI.
func endpoint(t testing.TB) string {
	t.Helper()
	local.once.Do(func() { local.process, local.err = awslocal.StartDynamoDB(context.Background()) })
	if errors.Is(local.err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(local.err)
	}
	if local.err != nil {
		t.Fatal(local.err)
	}
	return local.process.Endpoint
}

// dial returns a client of DynamoDB at an endpoint.
func dial(at string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(at), Region: awslocal.Region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	})
}

// newTestTable creates a table that is gone after the test, and returns its name.
func newTestTable(t testing.TB) string {
	t.Helper()
	client, name := dial(endpoint(t)), "t-"+rand.Text()
	if _, err := client.CreateTable(t.Context(), Definition(name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(name)}); err != nil {
			t.Error(err)
		}
	})
	return name
}

// proxied is a proxy with faults in front of DynamoDB Local.
func proxied(t testing.TB, seed uint64) *awslocal.Proxy {
	t.Helper()
	p, err := awslocal.StartProxy(t.Context(), endpoint(t), seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// testEngine opens an engine on a table; change, which may be nil, adjusts its options.
func testEngine(t testing.TB, at, name string, change func(*Options)) *Engine {
	t.Helper()
	o := Options{
		Client: dial(at), Table: name, Poster: nobody{}, Queue: nobody{}, Rules: rule.New(rule.Options{}),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&o)
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	e.table.tryTime = time.Minute // a loaded machine loses no answer, which would leave holes between numbers
	return e
}

// nobody is a Poster and a Queue for tests that reach neither.
type nobody struct{}

var errNobody = errors.New("this test posts and queues nothing")

func (nobody) Post(context.Context, string, []byte) error            { return errNobody }
func (nobody) Close(context.Context, string) error                   { return errNobody }
func (nobody) Enqueue(context.Context, time.Duration, ...Task) error { return errNobody }
