package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"eureka/internal/loadgen"
)

// benchCmd loads a service. Its flags are those that all scenarios share.
type benchCmd struct {
	Protocol   string        `help:"What the service speaks: eureka, centrifugo (its JSON protocol and HTTP API), or bare (bench/bare)." enum:"eureka,centrifugo,bare" default:"eureka"`
	APIKey     string        `name:"api-key" help:"Credential of publishes, where it is not that of the sockets (--token); of Centrifugo, the key of its HTTP API." placeholder:"KEY"`
	PID        int           `name:"pid" help:"Process of the service, when it runs on this machine: its memory and processor time are reported." placeholder:"PID"`
	Channel    string        `help:"Channel, or what the names of several begin with; a name that nobody uses by default." placeholder:"NAME"`
	Connecting int           `help:"Handshakes under way at once." default:"256"`
	Wait       time.Duration `help:"Patience for a handshake, an answer or a message that does not come." default:"10s"`
	Quiet      bool          `help:"Print no progress."`

	Idle     benchIdleCmd     `cmd:"" help:"Connect sockets and let them be: memory of each."`
	Fanout   benchFanoutCmd   `cmd:"" help:"Publish to one channel with many subscribers: latency, processor time of each delivery, losses."`
	Channels benchChannelsCmd `cmd:"" help:"Publish to many channels with few subscribers each."`
	Connect  benchConnectCmd  `cmd:"" help:"Connect and drop all sockets, several times: rate, processor time, memory that stays."`
	Storm    benchStormCmd    `cmd:"" help:"Drop all sockets at once and let them resume with their cursors: time, memory, losses."`
	Publish  benchPublishCmd  `cmd:"" help:"Publish over HTTP as fast as answers come."`
}

// publishFlags say how to publish.
type publishFlags struct {
	Size     int           `help:"Bytes of each message's data." default:"128"`
	For      time.Duration `help:"How long to publish." default:"10s"`
	Messages int           `help:"Publish as many messages, however long that takes." placeholder:"N"`
}

func (f publishFlags) set(o *loadgen.Options) { o.Size, o.For, o.Messages = f.Size, f.For, f.Messages }

type benchIdleCmd struct {
	Sockets   int           `help:"Sockets to open." default:"1000"`
	Channels  int           `help:"Channels that they share." default:"1"`
	PerSocket int           `help:"Channels that each subscribes to." default:"1"`
	Settle    time.Duration `help:"Wait before the memory is read." default:"10s"`
}

// Run connects sockets and lets them be.
func (c *benchIdleCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Idle)
	o.Sockets, o.Channels, o.PerSocket, o.Settle = c.Sockets, c.Channels, c.PerSocket, c.Settle
	return b.run(s, o)
}

type benchFanoutCmd struct {
	publishFlags

	Subscribers int     `help:"Sockets that listen." default:"1000"`
	Rate        float64 `help:"Publishes per second, however late they arrive; without it the next message starts when the last has arrived everywhere." placeholder:"N"`
	InFlight    int     `help:"Messages under way at once; with --rate, connections to publish on." default:"1"`
}

// Run publishes to one channel.
func (c *benchFanoutCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Fanout)
	c.set(&o)
	o.Sockets, o.Rate, o.InFlight = c.Subscribers, c.Rate, c.InFlight
	return b.run(s, o)
}

type benchChannelsCmd struct {
	publishFlags

	Channels  int           `help:"Channels." default:"1000"`
	Sockets   int           `help:"Sockets; as many as channels by default." placeholder:"N"`
	PerSocket int           `help:"Channels that each socket subscribes to." default:"1"`
	Rate      float64       `help:"Publishes per second, over all channels; without it the next starts when the last has arrived." placeholder:"N"`
	InFlight  int           `help:"Messages under way at once; with --rate, connections to publish on." default:"16"`
	Settle    time.Duration `help:"Wait before the memory is read." default:"5s"`
}

// Run publishes to many channels.
func (c *benchChannelsCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Channels)
	c.set(&o)
	o.Channels, o.Sockets, o.PerSocket, o.Rate, o.InFlight, o.Settle = c.Channels, c.Sockets, c.PerSocket, c.Rate, c.InFlight, c.Settle
	if o.Sockets == 0 {
		o.Sockets = c.Channels
	}
	return b.run(s, o)
}

type benchConnectCmd struct {
	Sockets int           `help:"Sockets to open." default:"1000"`
	Cycles  int           `help:"How often." default:"3"`
	Settle  time.Duration `help:"Wait after each drop." default:"2s"`
}

// Run connects and drops all sockets.
func (c *benchConnectCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Connect)
	o.Sockets, o.Cycles, o.Settle = c.Sockets, c.Cycles, c.Settle
	return b.run(s, o)
}

type benchStormCmd struct {
	Sockets int `help:"Sockets that are dropped." default:"1000"`
	Missed  int `help:"Messages that are published while they are away." default:"10"`
	Size    int `help:"Bytes of each message's data." default:"128"`
}

// Run drops all sockets and lets them resume.
func (c *benchStormCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Storm)
	o.Sockets, o.Missed, o.Size = c.Sockets, c.Missed, c.Size
	return b.run(s, o)
}

type benchPublishCmd struct {
	publishFlags

	Subscribers int     `help:"Sockets that listen." default:"1"`
	Rate        float64 `help:"Publishes per second; as many as are answered without it." placeholder:"N"`
	InFlight    int     `help:"Publishes under way at once." default:"32"`
}

// Run publishes over HTTP.
func (c *benchPublishCmd) Run(s *session, b *benchCmd) error {
	o := b.options(loadgen.Publish)
	c.set(&o)
	o.Sockets, o.Rate, o.InFlight = c.Subscribers, c.Rate, c.InFlight
	return b.run(s, o)
}

// options are what the shared flags say, and values that stand for nothing in scenarios without the flag.
func (b *benchCmd) options(scenario loadgen.Scenario) loadgen.Options {
	channel := b.Channel
	if channel == "" {
		channel = "bench-" + strings.ToLower(rand.Text()[:8]) // what is left of another run must not be heard
	}
	return loadgen.Options{
		Scenario: scenario, Protocol: loadgen.Protocol(b.Protocol), APIKey: b.APIKey, PID: b.PID, Channel: channel, Connecting: b.Connecting, Wait: b.Wait,
		Sockets: 1, Channels: 1, PerSocket: 1, Cycles: 1, InFlight: 1, Missed: 1, Size: 128, For: time.Second,
	}
}

func (b *benchCmd) run(s *session, o loadgen.Options) error {
	s.interruptible()
	o.URL, o.Token = s.url, s.token
	if !b.Quiet {
		began := time.Now()
		o.Progress = func(line string) {
			_, _ = fmt.Fprintf(s.stderr, "%5.0fs  %s\n", time.Since(began).Seconds(), line)
		}
	}
	report, err := loadgen.Run(s.ctx, o)
	if report.Connects != nil {
		printed := s.printReport(report)
		err = errors.Join(err, printed)
	}
	return s.interrupted(err)
}

func (s *session) printReport(r loadgen.Report) error {
	if s.json {
		return s.printJSON(r)
	}
	return r.Print(s.stdout)
}
