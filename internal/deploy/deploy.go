package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"eureka"
)

// stagePattern is what a stage may be called: it is part of the names of all resources, and of the bucket's.
const stagePattern = "[a-z][a-z0-9]{0,15}"

var stageExpression = regexp.MustCompile("^" + stagePattern + "$")

// EventKind says what an [Event] tells.
type EventKind string

// The kinds of events.
const (
	EventStep     EventKind = "step"     // the deployment does something now
	EventResource EventKind = "resource" // the status of a resource changed
)

// Event is one line of progress.
type Event struct {
	Kind     EventKind `json:"kind"`
	Text     string    `json:"text,omitempty"`     // EventStep: what is done
	Resource string    `json:"resource,omitempty"` // logical name in the template
	Type     string    `json:"type,omitempty"`     // such as AWS::Lambda::Function
	Status   string    `json:"status,omitempty"`   // such as CREATE_COMPLETE
	Reason   string    `json:"reason,omitempty"`
}

// Progress hears what happens, in order.
type Progress func(Event)

// Options configure a Deployer.
type Options struct {
	AWS      aws.Config // region and credentials
	Stage    string     // [a-z][a-z0-9]{0,15}
	Progress Progress   // nil for nobody
	// Poll is the pause between two looks at the stack; 0 means two seconds.
	Poll time.Duration
}

// Deployer deploys, shows and removes one stage in one account and region.
type Deployer struct {
	stage     string
	region    string
	progress  Progress
	poll      time.Duration
	partition string // of AWS: its own, that of China, of the government
	stacks    *cloudformation.Client
	storage   *s3.Client
	queues    *sqs.Client
	identity  *sts.Client
}

// New returns a Deployer; it makes no request. CodeInvalid for a stage that cannot be called so, or without a region.
func New(o Options) (*Deployer, error) {
	if !stageExpression.MatchString(o.Stage) {
		return nil, eureka.FieldError("stage", "%q must be 1 to 16 lower-case letters and digits and begin with a letter", o.Stage)
	}
	if o.AWS.Region == "" {
		return nil, eureka.FieldError("region", "is not set; give --region, or set AWS_REGION or a profile that has one")
	}
	d := &Deployer{
		stage: o.Stage, region: o.AWS.Region, progress: o.Progress, poll: o.Poll, partition: "aws",
		stacks: cloudformation.NewFromConfig(o.AWS), queues: sqs.NewFromConfig(o.AWS), identity: sts.NewFromConfig(o.AWS),
		storage: s3.NewFromConfig(o.AWS, func(s *s3.Options) {
			// An endpoint of one's own has no name for each bucket.
			s.UsePathStyle = s.BaseEndpoint != nil
		}),
	}
	if d.progress == nil {
		d.progress = func(Event) {}
	}
	if d.poll <= 0 {
		d.poll = 2 * time.Second
	}
	return d, nil
}

// StackName is the name of the stage's stack.
func (d *Deployer) StackName() string { return "eureka-" + d.stage }

func (d *Deployer) step(text string) { d.progress(Event{Kind: EventStep, Text: text}) }

// bucket is the name of the stage's bucket; bucket names are shared by all accounts, so it has the account in it.
func (d *Deployer) bucket(ctx context.Context) (string, error) {
	out, err := d.identity.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", failed(err, "who is calling cannot be found out")
	}
	if parts := strings.SplitN(aws.ToString(out.Arn), ":", 3); len(parts) == 3 {
		d.partition = parts[1]
	}
	return d.StackName() + "-" + aws.ToString(out.Account) + "-" + d.region, nil
}

// Parameters are the settings of a deployment, by the template's names. A parameter that is not there keeps the value of the deployment before.
type Parameters map[string]string

// Request is one deployment.
type Request struct {
	Zip        []byte // of the functions, see [Zip]
	Version    string
	Parameters Parameters
	DryRun     bool // make the change set, return it, and change nothing
}

// Change is what happens, or would happen, to one resource.
type Change struct {
	Action      string `json:"action"` // Add, Modify or Remove
	Resource    string `json:"resource"`
	Type        string `json:"type"`
	Replacement string `json:"replacement,omitempty"` // True, Conditional: its content is lost
}

// Result is what a deployment did.
type Result struct {
	Changes []Change `json:"changes"`
	Info    *Info    `json:"info,omitempty"` // nil after a dry run
	// AdminKey is the credential that a first deployment made, since it was given none. It can be had this once; "" otherwise.
	AdminKey string `json:"adminKey,omitempty"`
}

// Deploy uploads the zip and creates or changes the stack until it has the template and the parameters. When nothing differs, nothing is done. It
// returns when the stack is as asked. CodeConflict when another change is under way; CodeUnavailable when the stack was rolled back: the events before
// say why.
func (d *Deployer) Deploy(ctx context.Context, r Request) (Result, error) {
	if err := r.Parameters.check(); err != nil {
		return Result{}, err
	}
	stack, err := d.find(ctx)
	if err != nil {
		return Result{}, err
	}
	if stack, err = d.prepare(ctx, stack, r.DryRun); err != nil {
		return Result{}, err
	}
	bucket, err := d.bucket(ctx)
	if err != nil {
		return Result{}, err
	}
	key := codeKey(r.Zip)
	if !r.DryRun {
		if err := d.upload(ctx, bucket, key, r.Zip); err != nil {
			return Result{}, err
		}
	}
	values := Parameters{ParameterStage: d.stage, ParameterCodeBucket: bucket, ParameterCodeKey: key, ParameterVersion: r.Version}
	maps.Copy(values, r.Parameters)
	result := Result{}
	if values.needsCredential(authOf(stack)) {
		if stack != nil {
			return Result{}, eureka.FieldError("auth", "service needs a credential from which all others come; give an admin key or the key of tokens with it")
		}
		result.AdminKey = rand.Text() + rand.Text()
		values["AdminKey"] = result.AdminKey
	}
	set, err := d.changeSet(ctx, stack, values)
	if err != nil {
		return Result{}, err
	}
	result.Changes = set.changes
	if r.DryRun {
		result.AdminKey = "" // the next one is another
		return result, d.discard(ctx, set)
	}
	if set.empty {
		err = d.discard(ctx, set)
	} else {
		err = d.execute(ctx, set)
	}
	if err != nil {
		return result, err
	}
	info, err := d.Info(ctx)
	result.Info = &info
	return result, err
}

// failed translates an error of AWS.
func failed(err error, text string) error {
	var known *eureka.Error
	if errors.As(err, &known) {
		return err
	}
	if strings.Contains(err.Error(), "no EC2 IMDS role found") || strings.Contains(err.Error(), "failed to refresh cached credentials") {
		// How the SDK looked for them in ever more places helps nobody.
		return eureka.Errorf(eureka.CodeUnauthenticated, "%s: there are no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`", text)
	}
	return eureka.WrapError(codeOf(err), err, "%s: %s", text, reason(err))
}
