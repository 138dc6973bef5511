package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"eureka"
	"eureka/internal/deploy"
)

// stageFlags say which deployment is meant.
type stageFlags struct {
	Stage   string `help:"Name of the deployment: lower-case letters and digits." default:"dev"`
	Region  string `help:"AWS region; that of the profile or of AWS_REGION by default." placeholder:"REGION"`
	Profile string `help:"AWS profile; AWS_PROFILE by default." placeholder:"NAME"`
}

type deployCmd struct {
	stageFlags

	Auth               *string `help:"Who may connect and call: service (tokens and API keys), iam (signed by AWS identities) or none." placeholder:"service|iam|none"`
	AdminKey           *string `help:"Credential that may do everything, at least 32 characters. A first deployment that is given no credential makes one." placeholder:"KEY"`
	JWTSecret          *string `name:"jwt-secret" help:"Shared secret of tokens signed with HS256." placeholder:"SECRET"`
	JWTPublicKey       string  `name:"jwt-public-key" help:"PEM file with the public key of tokens." placeholder:"FILE"`
	JWTJWKS            *string `name:"jwt-jwks" help:"Addresses of issuers' public keys: URL, or ISSUER=URL for each." placeholder:"URL,…"`
	JWTIssuer          *string `name:"jwt-issuer" help:"Required issuer of tokens." placeholder:"ISSUER"`
	JWTAudience        *string `name:"jwt-audience" help:"Audience of which a token must name one." placeholder:"AUDIENCE,…"`
	AllowedOrigins     *string `help:"Origins of browser pages that may connect." placeholder:"ORIGIN,…"`
	UndeclaredChannels *string `help:"Whether channels that nobody created may be used: allow, deny or auto." placeholder:"POLICY"`
	MaxSubscriptions   *string `help:"Channels that one socket may listen to." placeholder:"NUMBER"`
	LogLevel           *string `help:"debug, info, warn or error." placeholder:"LEVEL"`
	LogRetentionDays   *string `help:"Days after which logs are removed." placeholder:"DAYS"`
	FanoutConcurrency  *string `help:"Workers that post at the same time." placeholder:"NUMBER"`
	AlarmTopic         *string `help:"ARN of an SNS topic that alarms are sent to." placeholder:"ARN"`
	APIGatewayAccount  *string `name:"api-gateway-account" help:"manage or keep the role through which API Gateway logs in this account." placeholder:"manage|keep"`
	Bootstrap          string  `help:"Built cmd/eureka-lambda for arm64; by default those that this program carries, or beside it, or built from the source in the working directory." placeholder:"FILE"`
	DryRun             bool    `help:"Print the template and what would change, and change nothing."`
}

// parameters are the template's parameters that were given. What was not given stays as it is.
func (c *deployCmd) parameters() (deploy.Parameters, error) {
	out := deploy.Parameters{}
	for name, value := range map[string]*string{
		"Auth": c.Auth, "AdminKey": c.AdminKey, "JwtSecret": c.JWTSecret, "JwtJwks": c.JWTJWKS, "JwtIssuer": c.JWTIssuer, "JwtAudience": c.JWTAudience,
		"AllowedOrigins": c.AllowedOrigins, "UndeclaredChannels": c.UndeclaredChannels, "LogLevel": c.LogLevel, "LogRetentionDays": c.LogRetentionDays,
		"FanoutConcurrency": c.FanoutConcurrency, "MaxSubscriptions": c.MaxSubscriptions, "AlarmTopic": c.AlarmTopic, "ApiGatewayAccount": c.APIGatewayAccount,
	} {
		if value != nil {
			out[name] = *value
		}
	}
	if c.JWTPublicKey != "" {
		text, err := os.ReadFile(c.JWTPublicKey)
		if err != nil {
			return nil, eureka.WrapError(eureka.CodeInvalid, err, "jwt_public_key: the file cannot be read")
		}
		out["JwtPublicKeyPem"] = string(text)
	}
	return out, nil
}

// Run deploys a stage.
func (c *deployCmd) Run(s *session) error {
	parameters, err := c.parameters()
	if err != nil {
		return err
	}
	d, err := s.deployer(c.stageFlags)
	if err != nil {
		return err
	}
	if c.DryRun {
		if err := s.printTemplate(); err != nil {
			return err
		}
	}
	zip, err := s.functions(c.Bootstrap)
	if err != nil {
		return err
	}
	request := deploy.Request{Zip: zip, Version: version(), Parameters: parameters, DryRun: c.DryRun}
	if c.DryRun {
		return s.dryRun(d, request)
	}
	result, err := d.Deploy(s.ctx, request)
	// A key that was made is told even when the rest failed: it may be in force.
	if result.AdminKey != "" && !s.json {
		if err := s.printf("admin key   %s\n            (made for this first deployment, and shown this once)\n", result.AdminKey); err != nil {
			return err
		}
	}
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(result)
	}
	if len(result.Changes) == 0 {
		s.note("nothing to change")
	}
	return s.printInfo(*result.Info)
}

// printTemplate prints the template, for people.
func (s *session) printTemplate() error {
	template, err := deploy.Template()
	if err != nil || s.json {
		return err
	}
	var long bytes.Buffer
	if err := json.Indent(&long, template, "", "  "); err != nil {
		return err
	}
	return s.printf("%s\n", long.Bytes())
}

// dryRun prints what a deployment would change.
func (s *session) dryRun(d *deploy.Deployer, request deploy.Request) error {
	result, err := d.Deploy(s.ctx, request)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		template, err := deploy.Template()
		if err != nil {
			return err
		}
		return s.printJSON(map[string]any{"template": json.RawMessage(template), "changes": result.Changes})
	}
	return s.printChanges(result.Changes)
}

type infoCmd struct {
	stageFlags
}

// Run shows a deployed stage.
func (c *infoCmd) Run(s *session) error {
	d, err := s.deployer(c.stageFlags)
	if err != nil {
		return err
	}
	info, err := d.Info(s.ctx)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(info)
	}
	return s.printInfo(info)
}

type removeCmd struct {
	stageFlags

	Yes bool `help:"Do not ask."`
}

// Run removes a stage with everything it holds.
func (c *removeCmd) Run(s *session) error {
	d, err := s.deployer(c.stageFlags)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := s.found(d); err != nil {
			return err
		}
		s.note(fmt.Sprintf("this deletes the stack %s with its channels, their history, API keys and dead letters; type %s to go on:", d.StackName(), c.Stage))
		answer, _ := bufio.NewReader(s.stdin).ReadString('\n') // an end without an answer is no
		if strings.TrimSpace(answer) != c.Stage {
			return eureka.Errorf(eureka.CodeInvalid, "nothing was removed; type the stage's name, or give --yes")
		}
	}
	if err := d.Remove(s.ctx); err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(map[string]string{"removed": c.Stage})
	}
	return s.printf("removed %s\n", c.Stage)
}

// found shows what there is to remove. A stage without a stack may have left its bucket.
func (s *session) found(d *deploy.Deployer) error {
	info, err := d.Info(s.ctx)
	switch {
	case eureka.CodeOf(err) == eureka.CodeNotFound:
		return nil
	case err != nil:
		return s.interrupted(err)
	}
	s.note(fmt.Sprintf("%s in %s, %s, %d resources", info.Stack, info.Region, info.Status, info.Resources))
	return nil
}

func (s *session) deployer(f stageFlags) (*deploy.Deployer, error) {
	s.interruptible()
	var options []func(*awsconfig.LoadOptions) error
	if f.Region != "" {
		options = append(options, awsconfig.WithRegion(f.Region))
	}
	if f.Profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(f.Profile))
	}
	// What the SDK has to say of its ways is told by the error, if it comes to one.
	options = append(options, awsconfig.WithLogger(logging.Nop{}))
	settings, err := awsconfig.LoadDefaultConfig(s.ctx, options...)
	if _, missing := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); missing {
		return nil, eureka.FieldError("profile", "there is no AWS profile of that name; `aws configure list-profiles` shows those there are")
	}
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the AWS settings cannot be read")
	}
	return deploy.New(deploy.Options{AWS: settings, Stage: f.Stage, Progress: s.progress})
}

// functions returns the zip of the functions.
func (s *session) functions(path string) ([]byte, error) {
	if path == "" {
		return deploy.FindZip(s.ctx)
	}
	bootstrap, err := deploy.ReadBootstrap(path)
	if err != nil {
		return nil, err
	}
	return deploy.Zip(bootstrap)
}

// progress prints what a deployment does, on standard error, so that the result can be piped.
func (s *session) progress(e deploy.Event) {
	if s.json {
		return
	}
	if e.Kind == deploy.EventStep {
		s.note(e.Text)
		return
	}
	line := fmt.Sprintf("  %-28s %-26s %s", e.Status, e.Resource, strings.TrimPrefix(e.Type, "AWS::"))
	if e.Reason != "" && !strings.Contains(e.Reason, "Initiated") {
		line += "  " + e.Reason
	}
	_, _ = fmt.Fprintln(s.stderr, clean(line)) // nobody reads it
}

// note prints a line about what is done, for people.
func (s *session) note(text string) {
	if !s.json {
		_, _ = fmt.Fprintln(s.stderr, "eureka: "+clean(text)) // nobody reads it
	}
}

func (s *session) printChanges(changes []deploy.Change) error {
	if len(changes) == 0 {
		return s.printf("nothing would change\n")
	}
	rows := [][]string{{"ACTION", "RESOURCE", "TYPE", "REPLACED"}}
	for _, c := range changes {
		rows = append(rows, []string{c.Action, c.Resource, c.Type, c.Replacement})
	}
	return s.table(rows)
}

func (s *session) printInfo(i deploy.Info) error {
	rows := [][]string{
		{"stage", i.Stage + " in " + i.Region},
		{"stack", fmt.Sprintf("%s, %s, %d resources", i.Stack, i.Status, i.Resources)},
		{"version", i.Version},
		{"changed", moment(i.UpdatedAt)},
		{"waiting", fmt.Sprintf("%d events, %d deliveries", i.Waiting["events"], i.Waiting["tasks"])},
		{"failed", fmt.Sprintf("%d events, %d deliveries", i.Waiting["eventsDead"], i.Waiting["tasksDead"])},
		{"sockets", i.WebSocket()},
		{"http", i.HTTP()},
		{"events", i.Outputs[deploy.OutputTopic]},
	}
	rows = slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
	if err := s.table(rows); err != nil || i.WebSocket() == "" {
		return err
	}
	return s.printf("\nwscat -c '%s?channels=orders-api:order'\n", i.WebSocket())
}
