package simulator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/edge/simulator/apigateway"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/source"
)

// Options configure a Simulator.
type Options struct {
	Listen      string            // loopback address of the APIs
	Control     string            // loopback address of the control endpoint
	Stage       string            // lower-case letters and digits
	Auth        string            // EUREKA_AUTH of the functions: none, service or iam
	Env         map[string]string // further settings of the functions; they win over those that the simulator makes
	Bootstrap   string            // program of the functions; found or built when it is empty
	DynamoDB    string            // endpoint; DynamoDB Local is started when it is empty
	Queues      string            // endpoint of SQS and SNS; fauxqs is started when it is empty
	Speed       float64           // by which idle time, age and schedule are faster, at least 1; 0 means 1
	Visibility  time.Duration     // of messages in both queues, in whole seconds; 0 means AWS's, which is minutes
	Concurrency int               // processes of each function at most; 0 means 50
	Thaw        bool              // leaves idle functions running instead of freezing them
	Seed        uint64            // of the faults
	Faults      []fault.Rule
	Output      io.Writer // what functions print; nil for nobody
	Progress    func(text string)
	Log         *slog.Logger
}

// defaultConcurrency is how many processes a function may have, which fits on a laptop. An account at AWS has a thousand.
const defaultConcurrency = 50

// startTime bounds a start: tools that start, and a build.
const startTime = 10 * time.Minute

// Simulator is a running one.
type Simulator struct {
	options   Options
	log       *slog.Logger
	meter     *meter.Meter
	faults    *fault.Set
	keys      *keyring
	clients   clients
	resources resources
	dynamo    *awslocal.Proxy
	queues    *awslocal.Proxy
	functions map[string]*lambda.Function
	gateway   *apigateway.Gateway
	mappings  []*source.Mapping
	schedule  *source.Schedule
	listener  net.Listener
	control   net.Listener
	failed    chan error

	output sync.Mutex // of Options.Output
	stops  []func()   // in the order of the start
	once   sync.Once
}

var stageName = regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`)

// Start starts a simulator and returns when it serves. Errors have a code: CodeInvalid for options, CodeConflict for an address that is taken,
// CodeUnavailable for tools that are missing or do not start, which wraps awslocal.ErrNotInstalled for the former.
func Start(ctx context.Context, o Options) (*Simulator, error) {
	s := &Simulator{options: o, log: o.Log, keys: newKeyring(), functions: map[string]*lambda.Function{}, failed: make(chan error, 2)}
	if err := s.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.start(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Simulator) check() error {
	o := &s.options
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
	}
	switch {
	case s.log == nil:
		return errors.New("simulator: an option is missing")
	case !stageName.MatchString(o.Stage):
		return eureka.FieldError("stage", "must be up to 20 lower-case letters and digits and begin with a letter")
	case o.Auth != "none" && o.Auth != "service" && o.Auth != "iam":
		return eureka.FieldError("auth", "must be none, service or iam")
	case !(o.Speed >= 1): // NaN too
		return eureka.FieldError("speed", "must be at least 1")
	case o.Concurrency < 0 || o.Visibility < 0:
		return eureka.Errorf(eureka.CodeInvalid, "concurrency and visibility cannot be negative")
	}
	s.faults = fault.NewSet(o.Seed)
	for _, r := range o.Faults {
		if err := r.Check(); err != nil {
			return eureka.Errorf(eureka.CodeInvalid, "%v", err)
		}
	}
	return nil
}

// start does the steps, each of which notes how it is undone.
func (s *Simulator) start(ctx context.Context) error {
	var err error
	if s.listener, err = s.listen(ctx, "listen", s.options.Listen); err != nil {
		return err
	}
	if s.control, err = s.listen(ctx, "control", s.options.Control); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "eureka-simulate")
	if err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "no temporary directory")
	}
	s.undo(func() { _ = os.RemoveAll(dir) })
	if err := s.startStandIns(ctx); err != nil {
		return err
	}
	bootstrap, err := s.bootstrap(ctx, dir)
	if err != nil {
		return err
	}
	s.progress("creating the table, the queues and the topic")
	if s.resources, err = s.clients.setUp(ctx, s.options.Stage, s.options.Visibility); err != nil {
		return err
	}
	s.startMeter()
	for _, r := range s.options.Faults {
		if err := s.PutFault(r); err != nil {
			return err
		}
	}
	s.startFunctions(bootstrap)
	s.serve()
	s.feed() //nolint:contextcheck // what is started outlives the start
	return nil
}

func (s *Simulator) undo(f func()) { s.stops = append(s.stops, f) }

func (s *Simulator) progress(text string) {
	if s.options.Progress != nil {
		s.options.Progress(text)
	}
}

// listen opens a loopback port.
func (s *Simulator) listen(ctx context.Context, name, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, eureka.FieldError(name, "must be an address such as 127.0.0.1:8832")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, eureka.FieldError(name, "must be a loopback address: everybody who reaches the simulator may do everything")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeConflict, err, "%s: cannot listen on %s; choose another address", name, address)
	}
	s.undo(func() { _ = l.Close() })
	return l, nil
}

// startStandIns starts DynamoDB Local and fauxqs, at the same time, and the proxies in front of them.
func (s *Simulator) startStandIns(ctx context.Context) error {
	endpoints := [2]string{s.options.DynamoDB, s.options.Queues}
	var errs [2]error
	var processes [2]*awslocal.Process
	var all sync.WaitGroup
	for i, start := range []func(context.Context) (*awslocal.Process, error){awslocal.StartDynamoDB, awslocal.StartQueues} {
		if endpoints[i] != "" {
			continue
		}
		s.progress([]string{"starting DynamoDB Local", "starting fauxqs for SQS and SNS"}[i])
		all.Go(func() {
			if processes[i], errs[i] = start(ctx); errs[i] == nil {
				endpoints[i] = processes[i].Endpoint
			}
		})
	}
	all.Wait()
	for _, p := range processes {
		if p != nil {
			s.undo(p.Stop)
		}
	}
	for i, err := range errs {
		if err != nil {
			what, flag := []string{"DynamoDB Local", "fauxqs"}[i], []string{"--dynamodb", "--queues"}[i]
			if errors.Is(err, awslocal.ErrNotInstalled) {
				return eureka.WrapError(eureka.CodeUnavailable, err, "%s, or what it needs, is not installed; `make tools` installs it, or name one that runs by %s URL", what, flag)
			}
			return eureka.WrapError(eureka.CodeUnavailable, err, "%s does not start; name one that runs by %s URL", what, flag)
		}
	}
	for i, proxy := range []**awslocal.Proxy{&s.dynamo, &s.queues} {
		var err error
		if *proxy, err = awslocal.StartProxy(ctx, endpoints[i], s.options.Seed); err != nil {
			return eureka.WrapError(eureka.CodeInvalid, err, "%s is no endpoint", endpoints[i])
		}
		s.undo((*proxy).Stop)
	}
	s.clients = newClients(endpoints[0], endpoints[1])
	return nil
}

// startFunctions makes the functions; their processes start when they are needed.
func (s *Simulator) startFunctions(bootstrap string) {
	for role, spec := range specs {
		f := lambda.New(lambda.Config{
			Name: "eureka-" + s.options.Stage + "-" + role, Role: role, Bootstrap: bootstrap, Env: s.environment(role),
			Region: awslocal.Region, Account: account, MemoryMB: spec.memoryMB, Timeout: spec.timeout,
			Concurrency: s.options.Concurrency, Keep: keepIdle, Thaw: s.options.Thaw,
		}, lambda.Host{
			Credentials: func(p *lambda.Process) (lambda.Credentials, func()) { return s.keys.issue(role, p) },
			Meter:       s.meter, Faults: s.faults, Output: s.print, Log: s.log,
		})
		s.functions[role] = f
		s.undo(f.Close)
	}
}

// print writes a line of a function.
func (s *Simulator) print(role, line string) {
	if s.options.Output == nil {
		return
	}
	s.output.Lock()
	defer s.output.Unlock()
	_, _ = io.WriteString(s.options.Output, role+"\t"+line+"\n") // a log that nobody takes is no reason to stop
}

// serve starts the APIs and the control endpoint.
func (s *Simulator) serve() {
	s.gateway = apigateway.New(apigateway.Options{
		Stage: s.options.Stage, Region: awslocal.Region, Account: account, WS: s.functions[roleWS], HTTP: s.functions[roleHTTP],
		IAM: s.options.Auth == "iam", Keys: s.keys.find, Limits: apigateway.AWSLimits().Faster(s.options.Speed),
		Meter: s.meter, Faults: s.faults, Log: s.log,
	})
	for _, each := range []struct {
		listener net.Listener
		handler  http.Handler
	}{{s.listener, s.gateway}, {s.control, s.controlHandler()}} {
		server := &http.Server{Handler: each.handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
		go func() {
			if err := server.Serve(each.listener); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- err
			}
		}()
		s.undo(func() { _ = server.Close() })
	}
	s.undo(s.gateway.Close)
}

// feed starts the event sources.
func (s *Simulator) feed() {
	who := credentials.NewStaticCredentialsProvider(UserKeyID, UserSecret, "")
	client := sqs.New(sqs.Options{Region: awslocal.Region, BaseEndpoint: aws.String(s.queues.Endpoint), Credentials: who})
	for role, q := range map[string]queue{roleEvents: s.resources.events, roleFanout: s.resources.tasks} {
		m := source.StartMapping(source.MappingOptions{
			Client: client, QueueURL: q.url, QueueARN: q.arn, Region: awslocal.Region, Function: s.functions[role], Role: role,
			Batch: specs[role].batch, Concurrency: min(specs[role].concurrency, s.options.Concurrency), Faults: s.faults, Log: s.log,
		})
		s.mappings = append(s.mappings, m)
		s.undo(m.Stop)
	}
	s.schedule = source.StartSchedule(source.ScheduleOptions{
		Rule: "eureka-" + s.options.Stage + "-schedule", Account: account, Region: awslocal.Region,
		Every: time.Duration(float64(scheduleEvery) / s.options.Speed), Function: s.functions[roleSchedule], Meter: s.meter, Log: s.log,
	})
	s.undo(s.schedule.Stop)
}

// Failed tells when the simulator cannot go on.
func (s *Simulator) Failed() <-chan error { return s.failed }

// Stop ends everything that was started and waits for its end.
func (s *Simulator) Stop() {
	s.once.Do(func() {
		for i := len(s.stops) - 1; i >= 0; i-- {
			s.stops[i]()
		}
	})
}
