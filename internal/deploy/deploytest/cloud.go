package deploytest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Account is the account of whoever calls.
const Account = "123456789012"

// Region is the region of everything.
const Region = "eu-west-1"

// Cloud is a fake account. Its fields may be set before it is used.
type Cloud struct {
	URL string // of all services
	// Fail is the logical name of a resource that cannot be created or updated; "" for none.
	Fail string
	// Refuse is why CloudFormation refuses every change set; "" for no reason.
	Refuse string
	// Deny lists actions, such as CreateBucket, that the caller may not do.
	Deny []string
	// Waiting is what each queue says it holds.
	Waiting int

	t       testing.TB
	mu      sync.Mutex
	stack   *stack
	stacks  int
	buckets map[string]*bucket
	calls   []string
	clock   time.Time
}

// New starts a fake account that ends with the test.
func New(t testing.TB) *Cloud {
	t.Helper()
	c := &Cloud{t: t, buckets: map[string]*bucket{}, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Environ is the environment with which the AWS SDK finds the fake.
func (c *Cloud) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + c.URL, "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// Calls are the actions that were asked for, in order, without repetitions in a row.
func (c *Cloud) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.calls...)
}

// Empty reports whether nothing is left in the account.
func (c *Cloud) Empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return (c.stack == nil || c.stack.status == "DELETE_COMPLETE") && len(c.buckets) == 0
}

// ChangeSets is how many change sets are there that were not executed.
func (c *Cloud) ChangeSets() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stack == nil || c.stack.set == nil {
		return 0
	}
	return 1
}

// Objects are the keys in all buckets.
func (c *Cloud) Objects() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []string
	for _, b := range c.buckets {
		for key := range b.objects {
			keys = append(keys, key)
		}
	}
	return keys
}

// Contents are the objects in all buckets.
func (c *Cloud) Contents() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, b := range c.buckets {
		for _, object := range b.objects {
			out = append(out, string(object))
		}
	}
	return out
}

// Parameter is the value of a parameter of the stack.
func (c *Cloud) Parameter(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stack == nil {
		return ""
	}
	return c.stack.parameters[name]
}

// Private reports whether every bucket is closed to the public and to plain HTTP, and encrypted.
func (c *Cloud) Private() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.buckets {
		if !b.private || !b.encrypted || !b.tlsOnly {
			return false
		}
	}
	return true
}

// ServeHTTP implements http.Handler.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		c.refuse(w, r, http.StatusForbidden, "MissingAuthenticationToken", "the request is not signed")
		return
	}
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		c.serveSQS(w, r)
	case r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		c.serveQuery(w, r)
	default:
		c.serveS3(w, r)
	}
}

// note records an action and reports whether the caller may do it.
func (c *Cloud) note(action string) bool {
	if len(c.calls) == 0 || c.calls[len(c.calls)-1] != action {
		c.calls = append(c.calls, action)
	}
	for _, denied := range c.Deny {
		if denied == action {
			return false
		}
	}
	return true
}

// tick is a moment later than any before.
func (c *Cloud) tick() string {
	c.clock = c.clock.Add(time.Second)
	return c.clock.Format(time.RFC3339)
}

func (c *Cloud) refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	form := "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>"
	if r.URL.Path != "/" {
		form = "<Error><Code>%s</Code><Message>%s</Message></Error>"
	}
	_, _ = fmt.Fprintf(w, form, code, escape(message)) //nolint:gosec // XML for the SDK of a test, which may be gone
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func (c *Cloud) serveSQS(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Amz-Target") != "AmazonSQS.GetQueueAttributes" || !c.note("GetQueueAttributes") {
		c.t.Errorf("SQS is asked for %s", r.Header.Get("X-Amz-Target"))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = fmt.Fprintf(w, `{"Attributes":{"ApproximateNumberOfMessages":"%d"}}`, c.Waiting) // likewise
}
