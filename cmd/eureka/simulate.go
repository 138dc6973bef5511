package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"eureka"
	"eureka/internal/edge/simulator"
	"eureka/internal/edge/simulator/fault"
)

type simulateCmd struct {
	Listen      string            `help:"Loopback address of WebSocket API, @connections and HTTP API." default:"127.0.0.1:8832" placeholder:"ADDRESS"`
	Control     string            `help:"Loopback address of the control endpoint, which tells what it can." default:"127.0.0.1:8833" placeholder:"ADDRESS"`
	Stage       string            `help:"Name of the deployment: lower-case letters and digits." default:"dev"`
	Auth        string            `help:"Who may connect and call: service (tokens and API keys), iam (signed requests) or none; service by default when EUREKA_ADMIN_KEY or a key of tokens is set, as for serve." placeholder:"service|iam|none"`
	Env         map[string]string `help:"Further setting of the functions; may be repeated. ${passed} are handed on from the environment." placeholder:"NAME=VALUE" mapsep:"none"`
	Bootstrap   string            `help:"Build of cmd/eureka-lambda for this machine; found beside this program, or built from its source, by default." placeholder:"FILE"`
	DynamoDB    string            `name:"dynamodb" help:"Endpoint of DynamoDB; DynamoDB Local is started by default." placeholder:"URL"`
	Queues      string            `help:"Endpoint of SQS and SNS; fauxqs is started by default." placeholder:"URL"`
	Fault       []string          `help:"Fault in force from the start: KIND=SHARE[,count=N][,skip=N][,role=ROLE][,posts=N][,delay=TIME]; may be repeated. Kinds: ${faults}." placeholder:"FAULT" sep:"none"`
	Seed        uint64            `help:"What the faults are drawn from." default:"1"`
	Speed       float64           `help:"By how much idle time, age of sockets and the schedule are faster." default:"1"`
	Visibility  time.Duration     `help:"How long a message that failed stays away, in whole seconds; minutes, as in AWS, by default." placeholder:"TIME"`
	Concurrency int               `help:"Processes of each function at most." default:"50"`
	Logs        string            `help:"File that gets what the functions print; - for standard error." placeholder:"FILE"`
	LogLevel    string            `help:"debug, info, warn or error: of the simulator itself." enum:"debug,info,warn,error" default:"warn"`
}

// simulateVars are what the help of simulate mentions.
func simulateVars() map[string]string {
	kinds := make([]string, 0, len(fault.Kinds()))
	for _, k := range fault.Kinds() {
		kinds = append(kinds, string(k))
	}
	return map[string]string{"faults": strings.Join(kinds, ", "), "passed": strings.Join(simulator.Passed(), ", ")}
}

// Run runs the simulator until a signal or a failure ends it, and prints what was counted.
func (c *simulateCmd) Run(s *session) error {
	o, err := c.options(s)
	if err != nil {
		return err
	}
	if c.Logs != "" {
		out, closeLogs, err := c.logs(s)
		if err != nil {
			return err
		}
		defer closeLogs()
		o.Output = out
	}
	reports, stopReports := reportSignals()
	defer stopReports()
	sim, err := c.start(s, o)
	if err != nil {
		return err
	}
	defer sim.Stop()
	if err := c.announce(s, sim); err != nil {
		return err
	}
	for {
		select {
		case <-reports:
			if err := c.report(s, sim); err != nil {
				return err
			}
		case err := <-sim.Failed():
			return eureka.WrapError(eureka.CodeUnavailable, err, "the simulator cannot go on")
		case <-s.signals:
			s.note("stopping")
			err := c.report(s, sim)
			sim.Stop()
			return err
		}
	}
}

// start starts the simulator; a signal stops that.
func (c *simulateCmd) start(s *session, o simulator.Options) (*simulator.Simulator, error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	type outcome struct {
		sim *simulator.Simulator
		err error
	}
	started := make(chan outcome, 1)
	go func() {
		sim, err := simulator.Start(ctx, o)
		started <- outcome{sim, err}
	}()
	select {
	case out := <-started:
		return out.sim, out.err
	case <-s.signals:
		cancel()
		if out := <-started; out.sim != nil {
			out.sim.Stop()
		}
		return nil, errInterrupted
	}
}

func (c *simulateCmd) options(s *session) (simulator.Options, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return simulator.Options{}, eureka.FieldError("log_level", "must be debug, info, warn or error")
	}
	o := simulator.Options{
		Listen: c.Listen, Control: c.Control, Stage: c.Stage, Auth: c.Auth, Env: map[string]string{}, Bootstrap: c.Bootstrap,
		DynamoDB: c.DynamoDB, Queues: c.Queues, Speed: c.Speed, Visibility: c.Visibility, Concurrency: c.Concurrency, Seed: c.Seed,
		Progress: s.note, Log: slog.New(slog.NewTextHandler(s.stderr, &slog.HandlerOptions{Level: level})),
	}
	for _, name := range simulator.Passed() {
		if value := s.getenv(name); value != "" {
			o.Env[name] = value
		}
	}
	for name, value := range c.Env {
		o.Env[name] = value
	}
	if o.Auth == "" {
		o.Auth = "none"
		credential := func(name string) bool { return o.Env[name] != "" }
		if slices.ContainsFunc([]string{"EUREKA_ADMIN_KEY", "EUREKA_JWT_SECRET", "EUREKA_JWT_PUBLIC_KEY_PEM", "EUREKA_JWT_JWKS"}, credential) {
			o.Auth = "service"
		}
	}
	for _, text := range c.Fault {
		rule, err := fault.Parse(text)
		if err != nil {
			return o, eureka.Errorf(eureka.CodeInvalid, "%v", err)
		}
		o.Faults = append(o.Faults, rule)
	}
	return o, nil
}

// logs opens what the functions' output goes to.
func (c *simulateCmd) logs(s *session) (out io.Writer, done func(), err error) {
	if c.Logs == "-" {
		return s.stderr, func() {}, nil
	}
	f, err := os.Create(c.Logs)
	if err != nil {
		return nil, nil, eureka.WrapError(eureka.CodeInvalid, err, "logs: the file cannot be written")
	}
	return f, func() { _ = f.Close() }, nil // each line has been written
}

func (c *simulateCmd) announce(s *session, sim *simulator.Simulator) error {
	at := sim.Endpoints()
	if s.json {
		return s.printJSON(at)
	}
	_, err := fmt.Fprintf(s.stderr, `eureka %[1]s, simulated AWS, stage %[2]s
  listening    %[3]s  %[4]s
  @connections %[5]s/@connections  (%[6]s, %[7]s, %[8]s)
  DynamoDB     %[9]s  table %[10]s
  SQS, SNS     %[11]s  %[12]s
  control      %[13]s  (meter, faults, sockets)

  try          wscat -c '%[4]s?channels=1000001'
               curl -d '{"data":{"message":"hello"}}' %[3]s/sockets/1000001/broadcast

`, version(), c.Stage, at.HTTP, at.WebSocket, at.Management, at.KeyID, at.Secret, at.Region, at.DynamoDB, at.Table, at.Queues, at.Topic, at.Control)
	return err
}

// report prints what was counted.
func (c *simulateCmd) report(s *session, sim *simulator.Simulator) error {
	r, err := sim.Report()
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(r)
	}
	return r.Print(s.stdout)
}
