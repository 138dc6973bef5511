package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"eureka"
	"eureka/client"
	"eureka/internal/config"
)

// Exit codes beside those of the error table.
const (
	exitOK          = 0
	exitUsage       = 2
	exitInterrupted = 130
)

// cli is the grammar of the command line.
type cli struct {
	URL    string `help:"Address of the service to talk to, ${url} by default." default:"${url}" env:"EUREKA_URL" placeholder:"URL"`
	Bearer string `name:"token" help:"Credential for the service: a token or an API key." env:"EUREKA_TOKEN" placeholder:"TOKEN"`
	JSON   bool   `name:"json" help:"Print JSON for programs."`

	Serve      serveCmd      `cmd:"" help:"Run the service."`
	Demo       demoCmd       `cmd:"" help:"Report the events of an orders service that does not exist, so that there is something to see."`
	Publish    publishCmd    `cmd:"" help:"Publish a message to a channel."`
	Listen     listenCmd     `cmd:"" help:"Print the messages of channels as they come."`
	History    historyCmd    `cmd:"" help:"Print the messages that a channel retains."`
	Channels   channelsCmd   `cmd:"" help:"Create, list, show, update and delete channels."`
	Rules      rulesCmd      `cmd:"" help:"Try rules."`
	Sockets    socketsCmd    `cmd:"" help:"List, show, message and disconnect live sockets."`
	Keys       keysCmd       `cmd:"" help:"Create, list and revoke API keys."`
	Revoke     revokeCmd     `cmd:"" help:"Revoke a token, or all credentials of a user."`
	Token      tokenCmd      `cmd:"" help:"Mint a token for development, signed with the setting jwt_secret."`
	Config     configCmd     `cmd:"" help:"Print, check and document the settings."`
	Deploy     deployCmd     `cmd:"" help:"Deploy the serverless service into an AWS account."`
	Info       infoCmd       `cmd:"" help:"Show what is deployed."`
	Remove     removeCmd     `cmd:"" help:"Remove a deployment with everything it holds."`
	Simulate   simulateCmd   `cmd:"" help:"Run the serverless service on this machine, behind a simulated AWS with its limits, faults and costs."`
	Bench      benchCmd      `cmd:"" help:"Load a service and report latencies, losses and what each socket and delivery costs."`
	Completion completionCmd `cmd:"" help:"Print a shell's completion script."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// session is one run of a command.
type session struct {
	asks bool // a service, which may want a credential
	program

	ctx    context.Context //nolint:containedctx // kong calls Run without one
	cancel context.CancelFunc
	url    string
	token  string
	json   bool
	file   config.File
	parser *kong.Kong
	parsed *kong.Context
}

// run runs one command line and returns its exit code.
func (p program) run(ctx context.Context, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var grammar cli
	s := &session{program: p, ctx: ctx, cancel: cancel}
	s.json = wantsJSON(args)
	file, err := s.settingsFile(args)
	if err != nil {
		return s.fail(err)
	}
	s.file = file
	exited := -1
	s.parser, err = kong.New(&grammar,
		kong.Name("eureka"),
		kong.Description("Real-time sockets for microservices."),
		kong.Vars{"url": client.DefaultURL},
		kong.Vars(simulateVars()),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(helpOf),
		kong.Resolvers(s.resolver()),
	)
	if err != nil {
		return s.fail(err)
	}
	ignoreEnvironment(s.parser.Model.Node)
	s.parsed, err = s.parser.Parse(args)
	if exited >= 0 {
		return exited // --help has been printed
	}
	if err != nil {
		return s.usage(err)
	}
	s.url, s.token, s.json = grammar.URL, grammar.Bearer, grammar.JSON
	return s.fail(s.parsed.Run(s))
}

// settingsFile reads the file that --config or EUREKA_CONFIG names, for the commands that take settings.
func (s *session) settingsFile(args []string) (config.File, error) {
	if command := commandOf(args); command != "serve" && command != "config" && command != "token" {
		return config.File{}, nil
	}
	if err := config.CheckEnvironment(s.environ); err != nil {
		return config.File{}, err
	}
	path := s.getenv(config.ConfigEnv)
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	if path == "" {
		return config.File{}, nil
	}
	return config.ReadFile(path)
}

// helpOf is a flag's help with the variables that set it too.
func helpOf(value *kong.Value) string {
	if value.Flag == nil || len(value.Flag.Envs) == 0 {
		return value.Help
	}
	return value.Help + " ($" + strings.Join(value.Flag.Envs, ", $") + ")"
}

// ignoreEnvironment leaves the variables to the resolver. Flag.Envs stays, for that and for the help.
func ignoreEnvironment(node *kong.Node) {
	for _, flag := range node.Flags {
		flag.Tag.Envs = nil
	}
	for _, child := range node.Children {
		ignoreEnvironment(child)
	}
}

// commandOf returns the command of a command line: its first word that is no flag, nor the value of one that may stand in front.
func commandOf(args []string) string {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--url", args[i] == "--token":
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		}
	}
	return ""
}

func (s *session) getenv(name string) string {
	for _, pair := range s.environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// resolver gives kong the values of the environment and, where that has none, of the file. kong would read the process's own environment
// and let the file win over it; ignoreEnvironment keeps it from that.
func (s *session) resolver() kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, name := range flag.Envs {
			if value := s.getenv(name); value != "" {
				return value, nil
			}
		}
		if value, ok := s.file.Value(strings.ReplaceAll(flag.Name, "-", "_")); ok {
			return value, nil
		}
		return nil, nil
	})
}

// fail reports an error and returns the exit code that its code stands for.
func (s *session) fail(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	if told, ok := errors.AsType[reported](err); ok {
		return told.code.Outcome().Exit
	}
	code := eureka.CodeOf(err)
	message := eureka.MessageOf(err)
	var own *eureka.Error
	if !errors.As(err, &own) {
		message = err.Error() // an error of the command line's own parts; nobody but its user sees it
	}
	if code == eureka.CodeUnauthenticated && s.asks && s.token == "" && !s.json {
		message += "; give this command one with --token or EUREKA_TOKEN"
	}
	s.complain(code, message)
	if own != nil && own.Err != nil && !s.json && !strings.Contains(message, own.Err.Error()) {
		_, _ = fmt.Fprintf(s.stderr, "  cause: %v\n", own.Err)
	}
	return code.Outcome().Exit
}

func (s *session) usage(err error) int {
	s.complain(eureka.CodeInvalid, err.Error())
	if !s.json {
		command := "eureka"
		if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context.Selected() != nil {
			command = parse.Context.Selected().FullPath()
		}
		_, _ = fmt.Fprintf(s.stderr, "Run \"%s --help\" for what there is.\n", command)
	}
	return exitUsage
}

func (s *session) complain(code eureka.Code, message string) {
	if !s.json {
		_, _ = fmt.Fprintf(s.stderr, "eureka: %s\n", message)
		return
	}
	text, err := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message}})
	if err == nil {
		_, _ = fmt.Fprintf(s.stderr, "%s\n", text)
	}
}

// errInterrupted ends a command that the user interrupted; it needs no words.
var errInterrupted = errors.New("interrupted")

// interruptible cancels the session when a signal comes.
func (s *session) interruptible() {
	go func() {
		select {
		case <-s.signals:
			s.cancel()
		case <-s.ctx.Done():
		}
	}()
}

func (s *session) client() (*client.Client, error) {
	s.interruptible()
	s.asks = true
	c, err := client.New(s.url)
	if err == nil && s.token != "" {
		c = c.WithToken(s.token)
	}
	return c, err
}

// interrupted turns the end of the session's context into errInterrupted.
func (s *session) interrupted(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func wantsJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--" {
			return false
		}
		if arg == "--json" {
			return true
		}
	}
	return false
}
