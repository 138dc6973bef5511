package simulator

import (
	"maps"
	"slices"
	"time"
)

// account is the number of the simulated account.
const account = "000000000000"

// The roles of functions.
const (
	roleWS       = "ws"
	roleHTTP     = "http"
	roleEvents   = "events"
	roleFanout   = "fanout"
	roleSchedule = "schedule"
)

// spec is a function as the template has it; a test compares both.
type spec struct {
	memoryMB    int
	timeout     time.Duration
	batch       int // messages of one invocation, of those that a queue feeds
	concurrency int // invocations at a time, of those
}

var specs = map[string]spec{
	roleWS:       {memoryMB: 512, timeout: 29 * time.Second},
	roleHTTP:     {memoryMB: 512, timeout: 29 * time.Second},
	roleEvents:   {memoryMB: 512, timeout: time.Minute, batch: 10, concurrency: 20},
	roleFanout:   {memoryMB: 1024, timeout: time.Minute, batch: 1, concurrency: 50},
	roleSchedule: {memoryMB: 256, timeout: time.Minute},
}

// scheduleEvery is how often the schedule runs.
const scheduleEvery = 5 * time.Minute

// keepIdle is how long Lambda leaves an idle process alive; AWS promises nothing.
const keepIdle = 10 * time.Minute

// Passed are the settings of the functions that the simulator hands on, beside those that it makes itself.
func Passed() []string {
	return []string{
		"EUREKA_ADMIN_KEY", "EUREKA_JWT_SECRET", "EUREKA_JWT_PUBLIC_KEY_PEM", "EUREKA_JWT_JWKS", "EUREKA_JWT_ISSUER", "EUREKA_JWT_AUDIENCE",
		"EUREKA_ALLOWED_ORIGINS", "EUREKA_UNDECLARED_CHANNELS", "EUREKA_MAX_SUBSCRIPTIONS", "EUREKA_LOG_LEVEL",
	}
}

// environment is what a function of a role is told, as docs/adr/0012 says.
func (s *Simulator) environment(role string) []string {
	env := map[string]string{
		"EUREKA_ROLE": role, "EUREKA_STAGE": s.options.Stage, "EUREKA_TABLE": s.resources.table, "EUREKA_TASKS_QUEUE_URL": s.resources.tasks.url,
		"EUREKA_MANAGEMENT_URL": s.HTTP() + "/" + s.options.Stage, "EUREKA_AUTH": s.options.Auth,
		"AWS_ENDPOINT_URL_DYNAMODB": s.dynamo.Endpoint, "AWS_ENDPOINT_URL_SQS": s.queues.Endpoint,
	}
	maps.Copy(env, s.options.Env)
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
