package lambdaapp

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
	"eureka/internal/httpapi"
	"eureka/internal/rule"
)

// maxAge is when API Gateway closes a socket.
const maxAge = 2 * time.Hour

// readyTime is what the store has to answer a health check.
const readyTime = 2 * time.Second

// Handler handles the events of one role, as package lambda of aws-lambda-go has it.
type Handler interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// Options configure New. All are required.
type Options struct {
	Settings Settings
	Version  string
	Log      *slog.Logger
}

// app is the parts that roles are made of.
type app struct {
	Options

	poster        *apigw.Poster
	queue         *apigw.Queue
	engine        *dynamo.Engine
	rules         *rule.Rules
	failures      failures
	core          *core.Core
	access        apigw.Access
	service       *apigw.Service // access, when the service has credentials of its own
	authenticator *auth.Authenticator
}

// New returns the handler of the settings' role. It makes no request. CodeInvalid names a setting that is wrong.
func New(o Options) (Handler, error) {
	if o.Log == nil {
		return nil, errors.New("lambdaapp: no logger")
	}
	a := &app{Options: o}
	for _, open := range []func() error{a.openEngine, a.openAccess, a.openCore} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	handler, err := a.handler()
	if err != nil {
		return nil, err
	}
	return counting{Handler: handler, failures: &a.failures, log: o.Log}, nil
}

// handler is what the role does.
func (a *app) handler() (Handler, error) {
	switch a.Settings.Role {
	case RoleWS:
		return a.sockets()
	case RoleHTTP:
		return a.http()
	case RoleEvents:
		return apigw.NewEvents(a.core, a.Log)
	case RoleFanout:
		return apigw.NewTasks(a.engine, a.queue, a.Log)
	default:
		return a.schedule()
	}
}

func (a *app) openEngine() error {
	s := a.Settings.AWS
	// Lambda's credentials stand in its environment for as long as the function lives. What the SDK's own configuration would read
	// beside them (files, other services' endpoints) a function does not have, and it costs time at every start.
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Source: "environment"}, nil
	})
	var err error
	if a.poster, err = apigw.NewPoster(apigw.PosterOptions{URL: a.Settings.ManagementURL, Region: s.Region, Credentials: credentials}); err != nil {
		return err
	}
	a.queue = apigw.NewQueue(sqs.New(sqs.Options{Region: s.Region, Credentials: credentials, BaseEndpoint: endpoint(s.SQSEndpoint)}), a.Settings.TasksQueueURL)
	a.rules = rule.New(rule.Options{Log: a.Log, Failed: a.failures.add})
	a.engine, err = dynamo.Open(dynamo.Options{
		Client: dynamodb.New(dynamodb.Options{Region: s.Region, Credentials: credentials, BaseEndpoint: endpoint(s.DynamoDBEndpoint)}),
		Table:  a.Settings.Table, Poster: a.poster, Queue: a.queue, Gone: a.gone, Rules: a.rules, Log: a.Log,
	})
	return err
}

// endpoint is nil for the region's own.
func endpoint(address string) *string {
	if address == "" {
		return nil
	}
	return &address
}

// gone reports the end of a socket that a post found ended.
func (a *app) gone(ctx context.Context, socketID string) {
	if err := a.core.Disconnect(ctx, socketID, eureka.CloseAbnormal, "the connection broke"); err != nil {
		a.Log.WarnContext(ctx, "the end of a socket could not be reported", slog.String("socket", socketID), slog.Any("error", err))
	}
}

func (a *app) openAccess() error {
	switch a.Settings.Auth {
	case AuthNone:
		a.access = apigw.Open{}
		return nil
	case AuthIAM:
		a.access = apigw.IAM{}
		return nil
	}
	var tokens *auth.Tokens
	var err error
	if issuers := a.Settings.issuers(); len(issuers) > 0 {
		if tokens, err = auth.NewTokens(auth.TokenOptions{Issuers: issuers, Log: a.Log}); err != nil {
			return err
		}
	}
	keys := a.engine.Keys()
	if a.authenticator, err = auth.NewAuthenticator(auth.AuthenticatorOptions{Tokens: tokens, AdminKey: a.Settings.AdminKey, Keys: keys}); err != nil {
		return err
	}
	kept, ok := a.engine.Sockets().(eureka.SocketIdentities)
	if !ok {
		return errors.New("lambdaapp: the engine does not keep who is behind a socket")
	}
	a.service, err = apigw.NewService(apigw.ServiceOptions{Checker: a.authenticator, Refresh: keys.Refresh, Kept: kept})
	a.access = a.service
	return err
}

func (a *app) openCore() error {
	var err error
	a.core, err = core.New(core.Options{
		Ports: core.Ports{
			Channels: a.engine.Channels(), Sockets: a.engine.Sockets(), Fanout: a.engine.Fanout(), Sender: a.engine.Sender(),
			History: a.engine.History(), Requests: a.engine.Requests(), Credentials: a.engine.Credentials(),
		},
		Node: a.Settings.Stage, AllowUndeclared: a.Settings.AllowUndeclared, MaxSubscriptions: a.Settings.MaxSubscriptions,
		MaxAge: maxAge, Verify: a.verify(), Rules: a.rules, Log: a.Log,
	})
	return err
}

// verify returns the check of a credential, nil for a service without credentials of its own.
func (a *app) verify() func(context.Context, string) (eureka.Identity, error) {
	if a.authenticator == nil {
		return nil
	}
	return func(ctx context.Context, credential string) (eureka.Identity, error) {
		if err := a.engine.Keys().Refresh(ctx); err != nil {
			return eureka.Identity{}, err
		}
		return a.authenticator.Verify(ctx, credential)
	}
}

func (a *app) sockets() (Handler, error) {
	origins, err := auth.NewOrigins(a.Settings.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	return apigw.NewSockets(apigw.SocketsOptions{
		Handler: a.core, Access: a.access, Origins: origins, Sender: a.engine.Sender(), Poster: a.poster, Queue: a.queue, Log: a.Log,
	})
}

func (a *app) http() (Handler, error) {
	origins, err := auth.NewOrigins(a.Settings.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	api, err := httpapi.New(httpapi.Options{
		Core: a.core, OriginAllowed: origins.Allowed, Identify: a.access.Request, Ready: a.ready, SocketURL: socketURL(a.Settings.ManagementURL), Log: a.Log,
		NoMocks: "the serverless service has no process that could play mocks; run eureka serve for that, or eureka demo against this one",
		Hello: func() httpapi.Hello {
			// No function holds a socket, so none of them can count those of all.
			return httpapi.Hello{
				Name: "eureka-sockets", Version: a.Version, Mode: "serverless", Node: a.Settings.Stage, Uptime: time.Since(started).Milliseconds(),
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return apigw.NewHTTP(api)
}

// ready asks the store for anything.
func (a *app) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	_, err := a.engine.Channels().Get(ctx, eureka.DefaultChannel)
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return nil
	}
	return err
}

// socketURL is where clients connect: the stage whose @connections the management URL has.
func socketURL(management string) string {
	u, err := url.Parse(management)
	if err != nil {
		return ""
	}
	u.Scheme = map[string]string{"https": "wss", "http": "ws"}[u.Scheme]
	return u.String()
}

func (a *app) schedule() (Handler, error) {
	return apigw.NewSchedule(apigw.ScheduleOptions{
		Sweeper: a.engine, Handler: a.core, Sender: a.engine.Sender(), Service: a.service, Log: a.Log,
	})
}
