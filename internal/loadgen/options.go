package loadgen

import (
	"net/url"
	"strconv"
	"time"

	"eureka"
)

// Scenario is what to do to a service.
type Scenario string

// The scenarios.
const (
	Idle     Scenario = "idle"     // connect sockets and let them be: memory of each
	Fanout   Scenario = "fanout"   // one channel, many subscribers
	Channels Scenario = "channels" // many channels, few subscribers each
	Connect  Scenario = "connect"  // connect and drop all sockets, several times
	Storm    Scenario = "storm"    // drop all sockets at once and resume them with cursors
	Publish  Scenario = "publish"  // publish over HTTP as fast as answers come
)

// Protocol is what the service speaks.
type Protocol string

// The protocols.
const (
	Eureka     Protocol = "eureka"
	Centrifugo Protocol = "centrifugo" // JSON protocol, HTTP API with a key
	Bare       Protocol = "bare"       // bench/bare: any handshake is answered, a POST is sent to every socket
)

// Limits of the options.
const (
	maxSockets  = 5_000_000
	maxChannels = 1_000_000
	maxStreams  = 200_000_000 // counters of what each socket has received
	maxInFlight = 1024
	maxSize     = 100_000
	maxMissed   = 10_000
)

// Options are one run. The zero value of a number means the scenario's default where there is one.
type Options struct {
	Scenario Scenario
	Protocol Protocol
	URL      string // http:// or ws://, with the path in front of the service's own, if any
	Token    string // credential of the sockets, and of publishes without an APIKey
	APIKey   string // credential of publishes
	PID      int    // the service's process, when it runs on this machine: its memory and processor time are reported; 0 for none

	Sockets    int           // connections
	Channels   int           // channels that they share
	PerSocket  int           // channels that each subscribes to
	Channel    string        // name of the channel, or what their names begin with
	Connecting int           // handshakes under way at once
	Cycles     int           // of connect: how often all sockets connect and are dropped
	Settle     time.Duration // of idle and connect: wait before memory is read

	Size     int           // bytes of a message's data
	Rate     float64       // publishes per second; 0: as fast as InFlight allows
	InFlight int           // messages under way at once; of a rate, connections to publish on
	For      time.Duration // how long to publish
	Messages int           // publish as many instead
	Missed   int           // of storm: messages that the dropped sockets miss
	Wait     time.Duration // patience for a handshake or a frame that does not come

	Progress func(line string) // told about every second what is going on; nil for nobody
}

// Validate reports the first option that cannot be; CodeInvalid.
func (o Options) Validate() error {
	if err := o.words(); err != nil {
		return err
	}
	for _, n := range []struct {
		name           string
		value, low, up int
	}{
		{"sockets", o.Sockets, 1, maxSockets},
		{"channels", o.Channels, 1, maxChannels},
		{"per_socket", o.PerSocket, 1, o.Channels},
		{"connecting", o.Connecting, 1, 65_536},
		{"cycles", o.Cycles, 1, 1000},
		{"size", o.Size, minSize, maxSize},
		{"in_flight", o.InFlight, 1, maxInFlight},
		{"messages", o.Messages, 0, 100_000_000},
		{"missed", o.Missed, 1, maxMissed},
		{"pid", o.PID, 0, 1 << 30},
	} {
		if n.value < n.low || n.value > n.up {
			return eureka.FieldError(n.name, "must be between %d and %d", n.low, n.up)
		}
	}
	if o.Sockets*o.PerSocket*o.streams() > maxStreams {
		return eureka.FieldError("sockets", "with that many channels each and messages in flight, more than %d counters would be needed", maxStreams)
	}
	if !(o.Rate >= 0 && o.Rate <= 1_000_000) {
		return eureka.FieldError("rate", "must be between 0 and 1000000 publishes per second")
	}
	for _, d := range []struct {
		name           string
		value, low, up time.Duration
	}{
		{"for", o.For, time.Millisecond, 24 * time.Hour},
		{"wait", o.Wait, 10 * time.Millisecond, time.Hour},
		{"settle", o.Settle, 0, time.Hour},
	} {
		if d.value < d.low || d.value > d.up {
			return eureka.FieldError(d.name, "must be between %s and %s", d.low, d.up)
		}
	}
	return nil
}

// words checks what is no number.
func (o Options) words() error {
	switch o.Scenario {
	case Idle, Fanout, Channels, Connect, Storm, Publish:
	default:
		return eureka.FieldError("scenario", "%q is none of idle, fanout, channels, connect, storm, publish", string(o.Scenario))
	}
	switch o.Protocol {
	case Eureka, Centrifugo, Bare:
	default:
		return eureka.FieldError("protocol", "%q is none of eureka, centrifugo, bare", string(o.Protocol))
	}
	if o.Scenario == Storm && o.Protocol != Eureka {
		return eureka.FieldError("protocol", "a storm resumes with cursors of eureka; %s has none of them", string(o.Protocol))
	}
	if !eureka.ValidName(o.Channel) {
		return eureka.FieldError("channel", "must be 1 to 128 characters of A-Z a-z 0-9 . _ : - and start with a letter or digit")
	}
	_, err := o.target()
	return err
}

// target is where the service is.
type target struct {
	host string // HOST:PORT
	path string // without a slash at its end
}

func (o Options) target() (target, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return target{}, eureka.FieldError("url", "%q is no address of a service", o.URL)
	}
	switch u.Scheme {
	case "http", "ws":
	case "https", "wss":
		return target{}, eureka.FieldError("url", "the load generator does not speak TLS; give it the address behind the proxy")
	default:
		return target{}, eureka.FieldError("url", "%q is no address of a service", o.URL)
	}
	host := u.Host
	if u.Port() == "" {
		host += ":80"
	}
	path := u.EscapedPath()
	for path != "" && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return target{host: host, path: path}, nil
}

// name is the name of a channel by its number.
func (o Options) name(channel int) string {
	if o.Channels == 1 {
		return o.Channel
	}
	return o.Channel + "-" + strconv.Itoa(channel)
}

// streams is how many lanes may publish to one channel. Where there are channels enough each lane has its own, so that order can be
// told from a single number.
func (o Options) streams() int {
	if o.Channels >= o.InFlight {
		return 1
	}
	return o.InFlight
}
