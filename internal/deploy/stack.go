package deploy

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"eureka"
	"eureka/internal/pause"
)

// find returns the stage's stack, nil when there is none.
func (d *Deployer) find(ctx context.Context) (*types.Stack, error) {
	out, err := d.stacks.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(d.StackName())})
	if isCode(err, "ValidationError") && strings.Contains(err.Error(), "does not exist") {
		return nil, nil //nolint:nilnil // no stack is an answer, not a fault
	}
	if err != nil {
		return nil, failed(err, "the stack cannot be looked up")
	}
	if len(out.Stacks) == 0 {
		return nil, nil //nolint:nilnil // likewise
	}
	return &out.Stacks[0], nil
}

// prepare makes sure that the stack can be changed. A stack whose creation failed can only be deleted: it holds nothing.
func (d *Deployer) prepare(ctx context.Context, stack *types.Stack, dryRun bool) (*types.Stack, error) {
	if stack == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	switch status := stack.StackStatus; {
	case status == types.StackStatusReviewInProgress:
		// A change set of before was never executed; the stack does not exist yet.
		return nil, nil //nolint:nilnil // likewise
	case status == types.StackStatusRollbackComplete || status == types.StackStatusRollbackFailed:
		if dryRun {
			return nil, eureka.Errorf(eureka.CodeConflict, "the stack's creation failed before; a deployment would remove what is left of it first")
		}
		d.step("removing what an earlier, failed creation left")
		return nil, d.delete(ctx, stack)
	case strings.HasSuffix(string(status), "_IN_PROGRESS"):
		return nil, eureka.Errorf(eureka.CodeConflict, "the stack is being changed already (%s); try again when that is over", status)
	default:
		return stack, nil
	}
}

// authOf is how a stack authenticates, "" without one.
func authOf(stack *types.Stack) string {
	if stack == nil {
		return ""
	}
	for _, p := range stack.Parameters {
		if aws.ToString(p.ParameterKey) == "Auth" {
			return aws.ToString(p.ParameterValue)
		}
	}
	return ""
}

// changes is a change set that waits to be executed.
type changes struct {
	id      string
	stack   string // id
	create  bool
	empty   bool // CloudFormation found nothing to change
	changes []Change
}

// changeSet lets CloudFormation find out what the template and the values change.
func (d *Deployer) changeSet(ctx context.Context, stack *types.Stack, values Parameters) (*changes, error) {
	body, err := Template()
	if err != nil {
		return nil, err
	}
	kind := types.ChangeSetTypeUpdate
	if stack == nil {
		kind = types.ChangeSetTypeCreate
	}
	d.step("asking CloudFormation what changes")
	out, err := d.stacks.CreateChangeSet(ctx, &cloudformation.CreateChangeSetInput{
		StackName: aws.String(d.StackName()), ChangeSetName: aws.String("eureka-" + strconv.FormatInt(time.Now().UnixNano(), 36)), ChangeSetType: kind,
		TemplateBody: aws.String(string(body)), Parameters: stackParameters(stack, values),
		Capabilities: []types.Capability{types.CapabilityCapabilityIam},
		Tags: []types.Tag{
			{Key: aws.String("eureka-stage"), Value: aws.String(d.stage)},
			{Key: aws.String("eureka-version"), Value: aws.String(values[ParameterVersion])},
		},
	})
	if err != nil {
		return nil, failed(err, "the change cannot be prepared")
	}
	set := &changes{id: aws.ToString(out.Id), stack: aws.ToString(out.StackId), create: stack == nil}
	if err := d.awaitChangeSet(ctx, set); err != nil {
		// What was refused or given up is of no use, and would stay; that it cannot be removed is the smaller trouble.
		_ = d.discard(context.WithoutCancel(ctx), set)
		return nil, err
	}
	return set, nil
}

// stackParameters are the values asked for, and those of before for the rest.
func stackParameters(stack *types.Stack, values Parameters) []types.Parameter {
	var out []types.Parameter
	for name := range templateParameters() {
		if value, set := values[name]; set {
			out = append(out, types.Parameter{ParameterKey: aws.String(name), ParameterValue: aws.String(value)})
		} else if stack != nil && slices.ContainsFunc(stack.Parameters, func(p types.Parameter) bool { return aws.ToString(p.ParameterKey) == name }) {
			out = append(out, types.Parameter{ParameterKey: aws.String(name), UsePreviousValue: aws.Bool(true)})
		}
	}
	slices.SortFunc(out, func(a, b types.Parameter) int { return strings.Compare(*a.ParameterKey, *b.ParameterKey) })
	return out
}

func (d *Deployer) awaitChangeSet(ctx context.Context, set *changes) error {
	for {
		out, err := d.stacks.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String(set.id)})
		if err != nil {
			return failed(err, "the change cannot be looked at")
		}
		switch out.Status {
		case types.ChangeSetStatusCreateComplete:
			return d.readChanges(ctx, set, out)
		case types.ChangeSetStatusFailed:
			text := aws.ToString(out.StatusReason)
			if strings.Contains(text, "didn't contain changes") || strings.Contains(text, "No updates are to be performed") {
				set.empty = true
				return nil
			}
			return eureka.Errorf(eureka.CodeInvalid, "CloudFormation refuses the change: %s", text)
		}
		if err := d.pause(ctx); err != nil {
			return err
		}
	}
}

// readChanges reads all pages of a change set.
func (d *Deployer) readChanges(ctx context.Context, set *changes, page *cloudformation.DescribeChangeSetOutput) error {
	for {
		for _, c := range page.Changes {
			if r := c.ResourceChange; r != nil {
				set.changes = append(set.changes, Change{
					Action: string(r.Action), Resource: aws.ToString(r.LogicalResourceId), Type: aws.ToString(r.ResourceType), Replacement: string(r.Replacement),
				})
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return nil
		}
		var err error
		page, err = d.stacks.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String(set.id), NextToken: page.NextToken})
		if err != nil {
			return failed(err, "the change cannot be looked at")
		}
	}
}

// discard removes a change set that will not be executed, and the empty stack that it came with.
func (d *Deployer) discard(ctx context.Context, set *changes) error {
	if _, err := d.stacks.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: aws.String(set.id)}); err != nil {
		return failed(err, "the change set cannot be removed")
	}
	if !set.create {
		return nil
	}
	if _, err := d.stacks.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(set.stack)}); err != nil {
		return failed(err, "the empty stack of the change set cannot be removed")
	}
	return nil
}

// execute carries a change set out and returns when the stack has come to rest.
func (d *Deployer) execute(ctx context.Context, set *changes) error {
	d.step("changing " + strconv.Itoa(len(set.changes)) + " resources")
	last, err := d.newestEvent(ctx, set.stack)
	if err != nil {
		return err
	}
	if _, err := d.stacks.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: aws.String(set.id)}); err != nil {
		return failed(err, "the change cannot be started")
	}
	status, err := d.follow(ctx, set.stack, last)
	if err != nil {
		return err
	}
	if status != types.StackStatusCreateComplete && status != types.StackStatusUpdateComplete {
		return eureka.Errorf(eureka.CodeUnavailable, "the change failed and was rolled back (%s)", status)
	}
	return nil
}

// Remove deletes the stack with all its state, and then the bucket. CodeNotFound when neither is there.
func (d *Deployer) Remove(ctx context.Context) error {
	stack, err := d.find(ctx)
	if err != nil {
		return err
	}
	bucket, err := d.bucket(ctx)
	if err != nil {
		return err
	}
	if stack != nil {
		d.step("deleting the stack " + d.StackName())
		if err := d.delete(ctx, stack); err != nil {
			return err
		}
	}
	found, err := d.removeBucket(ctx, bucket)
	if err == nil && stack == nil && !found {
		return eureka.Errorf(eureka.CodeNotFound, "there is no stage %q in %s", d.stage, d.region)
	}
	return err
}

func (d *Deployer) delete(ctx context.Context, stack *types.Stack) error {
	// By its id, since a deleted stack has no name.
	last, err := d.newestEvent(ctx, aws.ToString(stack.StackId))
	if err != nil {
		return err
	}
	if _, err := d.stacks.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: stack.StackId}); err != nil {
		return failed(err, "the stack cannot be deleted")
	}
	status, err := d.follow(ctx, aws.ToString(stack.StackId), last)
	if err == nil && status != types.StackStatusDeleteComplete {
		return eureka.Errorf(eureka.CodeUnavailable, "the stack could not be deleted (%s)", status)
	}
	return err
}

func (d *Deployer) pause(ctx context.Context) error {
	if err := pause.For(ctx, d.poll); err != nil {
		return eureka.WrapError(eureka.CodeTimeout, err, "given up waiting; CloudFormation goes on by itself")
	}
	return nil
}
