// Package config is the settings of the self-hosted service. Each is declared once, as a field of Settings; flags,
// environment variables, the file's keys, their checks and their documentation all follow from that declaration.
//
// A setting's value comes from the flag, else the environment, else the file, else its default. The package never opens
// anything but the file it is given and the key file that a setting names, and never prints a secret.
package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"eureka"
)

// UndeclaredPolicy says what happens on channel ids that nobody created.
type UndeclaredPolicy string

// The values of UndeclaredPolicy.
const (
	UndeclaredAllow UndeclaredPolicy = "allow"
	UndeclaredDeny  UndeclaredPolicy = "deny"
	UndeclaredAuto  UndeclaredPolicy = "auto" // allow while the service has no authentication, deny once it has
)

// SocketsGoroutines is the value of Sockets that does without event loops.
const SocketsGoroutines = "goroutines"

// MocksPolicy says whether sample events can be kept and played.
type MocksPolicy string

// The values of MocksPolicy.
const (
	MocksAllow MocksPolicy = "allow"
	MocksDeny  MocksPolicy = "deny"
	MocksAuto  MocksPolicy = "auto" // allow while the service has no authentication, deny once it has
)

// Settings are all settings of `eureka serve`. Tags are kong's; the key in the file is the flag's name with underscores.
type Settings struct {
	Listen                   string           `help:"Address of the one port for WebSocket, HTTP API and docs." default:"127.0.0.1:8832" env:"EUREKA_LISTEN" placeholder:"HOST:PORT"`
	TLSCert                  string           `name:"tls-cert" help:"PEM file with a certificate and its chain; with it and its key the port speaks TLS alone (https, wss)." default:"" env:"EUREKA_TLS_CERT" placeholder:"FILE"`
	TLSKey                   string           `name:"tls-key" help:"PEM file with the certificate's key." default:"" env:"EUREKA_TLS_KEY" placeholder:"FILE"`
	Sockets                  string           `help:"How sockets are driven: auto (on Linux by one event loop per core; with TLS, and on other systems, by goroutines) or goroutines." default:"auto" enum:"auto,goroutines" env:"EUREKA_SOCKETS"`
	DataDir                  string           `help:"Directory of the state; one process at a time." default:"eureka-data" env:"EUREKA_DATA_DIR" placeholder:"DIR"`
	NATS                     string           `name:"nats" help:"URL of an external NATS with JetStream (a comma list for a cluster). Empty: a NATS server runs inside the process." default:"" env:"EUREKA_NATS" placeholder:"URL" secret:"url"`
	Namespace                string           `help:"Prefix of NATS subjects, buckets and streams, so that several services can share one NATS." default:"eureka" env:"EUREKA_NAMESPACE"`
	Replicas                 int              `help:"Copies of the state on a NATS cluster: 1 to 5." default:"1" env:"EUREKA_REPLICAS"`
	Node                     string           `help:"Id of this node, 8 characters of a-z and 2-7. Empty: a new one at each start." default:"" env:"EUREKA_NODE"`
	AllowedOrigins           []string         `help:"Origins of browser pages that may connect, such as https://app.example.com or https://*.example.com; pages of localhost always may." default:"" env:"EUREKA_ALLOWED_ORIGINS" placeholder:"ORIGIN"`
	AllowedHosts             []string         `help:"Host names that a service without authentication answers to, beside localhost; behind a proxy, the proxy's." default:"" env:"EUREKA_ALLOWED_HOSTS" placeholder:"HOST"`
	Insecure                 bool             `help:"Listen on other than loopback addresses although the service has no authentication: everyone who reaches the port may do everything." default:"false" env:"EUREKA_INSECURE"`
	AdminKey                 string           `help:"Credential that may do everything, at least 32 characters: with it the first API keys are made. Switches authentication on." default:"" env:"EUREKA_ADMIN_KEY" placeholder:"KEY" secret:"all"`
	JWTSecret                string           `name:"jwt-secret" help:"Shared secret of tokens signed with HS256, at least 32 bytes. Switches authentication on." default:"" env:"EUREKA_JWT_SECRET" placeholder:"SECRET" secret:"all"`
	JWTPublicKey             string           `name:"jwt-public-key" help:"PEM file with the public key of tokens signed with RS256, ES256 or EdDSA. Switches authentication on." default:"" env:"EUREKA_JWT_PUBLIC_KEY" placeholder:"FILE"`
	JWTJWKS                  []string         `name:"jwt-jwks" help:"Address of an issuer's public keys (JWKS), or ISSUER=ADDRESS for each of several issuers. Switches authentication on." default:"" env:"EUREKA_JWT_JWKS" placeholder:"URL,…" secret:"url"`
	JWTIssuer                string           `name:"jwt-issuer" help:"Required issuer (iss) of tokens whose issuer is not named beside their keys. Empty: any, where there is one source of keys." default:"" env:"EUREKA_JWT_ISSUER"`
	JWTAudience              []string         `name:"jwt-audience" help:"Audience (aud) of which a token must name one. Empty: not checked." default:"" env:"EUREKA_JWT_AUDIENCE"`
	UndeclaredChannels       UndeclaredPolicy `help:"Whether channels that nobody created may be used: allow, deny, or auto: allow while the service has no authentication." default:"auto" enum:"auto,allow,deny" env:"EUREKA_UNDECLARED_CHANNELS"`
	Mocks                    MocksPolicy      `help:"Whether sample events can be kept and played, for development: allow, deny, or auto: allow while the service has no authentication." default:"auto" enum:"auto,allow,deny" env:"EUREKA_MOCKS"`
	Sync                     string           `help:"When what is stored is written to the disk: always (before it is confirmed), or an interval; a machine that goes down loses up to that much." default:"1s" env:"EUREKA_SYNC" placeholder:"always|DURATION"`
	MaxHistoryBytes          Size             `help:"Disk that the history of all channels may take; over it publishing to channels with history is refused. 0: what there is." default:"0" env:"EUREKA_MAX_HISTORY_BYTES" placeholder:"SIZE"`
	HistoryCacheBytes        Size             `help:"Memory for the newest messages of active channels, from which clients resume." default:"64MiB" env:"EUREKA_HISTORY_CACHE_BYTES" placeholder:"SIZE"`
	MaxSockets               int              `help:"Open sockets of this node; 0 for no limit." default:"1000000" env:"EUREKA_MAX_SOCKETS"`
	MaxSocketsPerUser        int              `help:"Open sockets of one user on this node; 0 for no limit." default:"1000" env:"EUREKA_MAX_SOCKETS_PER_USER"`
	ConnectsPerSecond        int              `help:"Connects per second on this node; twice as many may come at once. 0 for no limit." default:"10000" env:"EUREKA_CONNECTS_PER_SECOND"`
	ConnectsPerSecondPerUser int              `help:"Connects per second of one user on this node, likewise." default:"50" env:"EUREKA_CONNECTS_PER_SECOND_PER_USER"`
	FramesPerSecond          int              `help:"Frames per second of one socket, likewise; a client that sends ten times as many is closed with code 4429." default:"1000" env:"EUREKA_FRAMES_PER_SECOND"`
	PublishesPerSecond       int              `help:"Publishes per second of one socket, likewise." default:"500" env:"EUREKA_PUBLISHES_PER_SECOND"`
	MaxBodyBytes             Size             `help:"Largest body of an HTTP request." default:"1MiB" env:"EUREKA_MAX_BODY_BYTES" placeholder:"SIZE"`
	MaxSubscriptions         int              `help:"Channels that one socket may listen to." default:"1000" env:"EUREKA_MAX_SUBSCRIPTIONS"`
	QueueBytes               Size             `help:"Bytes that may wait for a slow client before it is closed with code 4503." default:"1MiB" env:"EUREKA_QUEUE_BYTES" placeholder:"SIZE"`
	QueueFrames              int              `help:"Frames that may wait likewise." default:"1024" env:"EUREKA_QUEUE_FRAMES"`
	PingInterval             time.Duration    `help:"Silence of a client after which the service pings it." default:"25s" env:"EUREKA_PING_INTERVAL"`
	IdleTimeout              time.Duration    `help:"Silence, pongs included, after which it closes the socket with code 4507." default:"75s" env:"EUREKA_IDLE_TIMEOUT"`
	MaxAge                   time.Duration    `help:"Age at which a socket is closed with code 4508; 0 for never." default:"0s" env:"EUREKA_MAX_AGE"`
	HandshakeTimeout         time.Duration    `help:"Time a client has for the headers of its request." default:"10s" env:"EUREKA_HANDSHAKE_TIMEOUT"`
	DrainTimeout             time.Duration    `help:"Time to close all sockets when the service is told to stop." default:"20s" env:"EUREKA_DRAIN_TIMEOUT"`
	DrainSpread              time.Duration    `help:"Clients of a stopping node reconnect spread over this time." default:"5s" env:"EUREKA_DRAIN_SPREAD"`
	EventWorkers             int              `help:"Events of queues, topics and NATS that are routed at a time." default:"32" env:"EUREKA_EVENT_WORKERS"`
	SNSTopics                []string         `name:"sns-topics" help:"ARNs of SNS topics that may deliver to /events/sns; * in a topic's name stands for any characters. Their subscriptions are confirmed." default:"" env:"EUREKA_SNS_TOPICS" placeholder:"ARN"`
	SQSQueues                []string         `name:"sqs-queues" help:"URLs of SQS queues whose messages are taken as events, with the credentials of the AWS SDKs (environment, files, the machine's role)." default:"" env:"EUREKA_SQS_QUEUES" placeholder:"URL"`
	SQSRegion                string           `name:"sqs-region" help:"Region of the queues. Empty: the one in their URLs." default:"" env:"EUREKA_SQS_REGION"`
	SQSEndpoint              string           `name:"sqs-endpoint" help:"Address of SQS, for a stand-in or a VPC endpoint. Empty: the region's own." default:"" env:"EUREKA_SQS_ENDPOINT" placeholder:"URL"`
	SQSReceives              int              `name:"sqs-receives" help:"Receives of each queue at a time, of up to ten messages each; messages are received when those before are done with." default:"2" env:"EUREKA_SQS_RECEIVES"`
	NATSEvents               string           `name:"nats-events" help:"Whether events are taken from NATS subjects: off; core (at most once, with an answer for requests); or stream (a JetStream stream, each until it is accepted)." default:"off" enum:"off,core,stream" env:"EUREKA_NATS_EVENTS"`
	NATSEventsURL            string           `name:"nats-events-url" help:"URL of the NATS that services publish events on. Empty: the external NATS of the setting nats." default:"" env:"EUREKA_NATS_EVENTS_URL" placeholder:"URL" secret:"url"`
	NATSEventsSubject        string           `name:"nats-events-subject" help:"Subject of the events, with wildcards. Empty: NAMESPACE.events.>, which is eureka.events.> by default." default:"" env:"EUREKA_NATS_EVENTS_SUBJECT"`
	NATSEventsStream         string           `name:"nats-events-stream" help:"JetStream stream of the events, which must be there; the service makes its consumer NAMESPACE-events." default:"" env:"EUREKA_NATS_EVENTS_STREAM"`
	LogLevel                 string           `help:"debug, info, warn or error." default:"info" enum:"debug,info,warn,error" env:"EUREKA_LOG_LEVEL"`
	LogFormat                string           `help:"text or json." default:"text" enum:"text,json" env:"EUREKA_LOG_FORMAT"`
	Pprof                    string           `help:"Loopback address that serves profiles of the process (/debug/pprof/), for go tool pprof. Empty: none." default:"" env:"EUREKA_PPROF" placeholder:"HOST:PORT"`
}

var (
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	nodePattern      = regexp.MustCompile(`^[a-z2-7]{8}$`)
)

// Verify checks each value and what they mean together. (kong would call a method named Validate by itself, as a usage error.) CodeInvalid or, for an open service on a public address, CodeForbidden.
func (s Settings) Verify() error {
	host, port, err := net.SplitHostPort(s.Listen)
	if number, numberErr := strconv.Atoi(port); err != nil || numberErr != nil || number < 0 || number > math.MaxUint16 {
		return eureka.FieldError("listen", "%q is not HOST:PORT", s.Listen)
	}
	if !s.Insecure && !s.Authenticated() && !loopback(host) {
		return eureka.Errorf(eureka.CodeForbidden,
			"listen: %s can be reached from other machines and the service has no authentication; set admin_key or the key of tokens (jwt_secret, jwt_public_key, jwt_jwks), listen on 127.0.0.1, or say --insecure", s.Listen)
	}
	if s.Insecure && s.Authenticated() {
		return eureka.FieldError("insecure", "says that there is no authentication, but there is; leave it out")
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return eureka.FieldError("tls_cert", "and tls_key go together: give both, or none")
	}
	for _, check := range []func() error{s.bounds, s.engine, s.access, s.events} {
		if err := check(); err != nil {
			return err
		}
	}
	if _, _, err := s.SyncInterval(); err != nil {
		return err
	}
	if err := s.profiles(); err != nil {
		return err
	}
	if s.IdleTimeout <= s.PingInterval {
		return eureka.FieldError("idle_timeout", "must be longer than ping_interval (%s), or every quiet client is closed", s.PingInterval)
	}
	return nil
}

// profiles checks where profiles are served: they show what the process does, and making one costs.
func (s Settings) profiles() error {
	if s.Pprof == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s.Pprof)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		return eureka.FieldError("pprof", "%q is not HOST:PORT", s.Pprof)
	}
	if !loopback(host) {
		return eureka.Errorf(eureka.CodeForbidden, "pprof: %s can be reached from other machines, and profiles ask for no credential; use 127.0.0.1", s.Pprof)
	}
	return nil
}

// engine checks what NATS needs.
func (s Settings) engine() error {
	switch {
	case s.NATS == "" && s.Replicas > 1:
		return eureka.FieldError("replicas", "must be 1 with the NATS server in this process; more need an external cluster (setting nats)")
	case s.NATS == "" && s.DataDir == "":
		return eureka.FieldError("data_dir", "is empty")
	case !namespacePattern.MatchString(s.Namespace):
		return eureka.FieldError("namespace", "must be 1 to 32 characters of A-Z a-z 0-9 _ and -")
	case s.Node != "" && !nodePattern.MatchString(s.Node):
		return eureka.FieldError("node", "must be 8 characters of a-z and 2-7")
	}
	return nil
}

// bounds checks numbers and durations one by one.
func (s Settings) bounds() error {
	for _, n := range []struct {
		key              string
		value, low, high int64
	}{
		{"replicas", int64(s.Replicas), 1, 5},
		{"max_body_bytes", int64(s.MaxBodyBytes), 1 << 10, 64 << 20},
		{"max_subscriptions", int64(s.MaxSubscriptions), 1, 100_000},
		{"max_history_bytes", int64(s.MaxHistoryBytes), 0, math.MaxInt64},
		{"history_cache_bytes", int64(s.HistoryCacheBytes), 1 << 20, 1 << 40},
		{"max_sockets", int64(s.MaxSockets), 0, math.MaxInt32},
		{"max_sockets_per_user", int64(s.MaxSocketsPerUser), 0, math.MaxInt32},
		{"connects_per_second", int64(s.ConnectsPerSecond), 0, 1_000_000},
		{"connects_per_second_per_user", int64(s.ConnectsPerSecondPerUser), 0, 1_000_000},
		{"frames_per_second", int64(s.FramesPerSecond), 0, 1_000_000},
		{"publishes_per_second", int64(s.PublishesPerSecond), 0, 1_000_000},
		{"queue_bytes", int64(s.QueueBytes), 2 * eureka.MaxFrameBytes, 1 << 30},
		{"queue_frames", int64(s.QueueFrames), 1, 1 << 20},
		{"event_workers", int64(s.EventWorkers), 1, 4096},
		{"sqs_receives", int64(s.SQSReceives), 1, 64},
	} {
		if n.value < n.low || n.value > n.high {
			return eureka.FieldError(n.key, "must be between %d and %d", n.low, n.high)
		}
	}
	for _, d := range []struct {
		key       string
		value     time.Duration
		low, high time.Duration
	}{
		{"ping_interval", s.PingInterval, 10 * time.Millisecond, time.Hour},
		{"idle_timeout", s.IdleTimeout, 20 * time.Millisecond, 24 * time.Hour},
		{"max_age", s.MaxAge, 0, 365 * 24 * time.Hour},
		{"handshake_timeout", s.HandshakeTimeout, 10 * time.Millisecond, time.Hour},
		{"drain_timeout", s.DrainTimeout, 0, time.Hour},
		{"drain_spread", s.DrainSpread, time.Millisecond, time.Hour},
	} {
		if d.value < d.low || d.value > d.high {
			return eureka.FieldError(d.key, "must be between %s and %s", d.low, d.high)
		}
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// Size is a number of bytes, written as such or with a unit: 128KB, 1MiB.
type Size int64

// units of a size; the longer spelling of a unit comes first.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1000}, {"MB", 1000_000}, {"GB", 1000_000_000}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			break
		}
		*s = Size(n * unit.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size; write bytes, or 128KB, or 1MiB", text)
}

// String writes the size with the largest binary unit that fits.
func (s Size) String() string {
	for _, unit := range []int{2, 1, 0} {
		if u := units[unit]; s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
