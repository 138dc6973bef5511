package deploy

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// newestEvent is the id of a stack's newest event, "" without one.
func (d *Deployer) newestEvent(ctx context.Context, stackID string) (string, error) {
	out, err := d.stacks.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: aws.String(stackID)})
	if err != nil {
		return "", failed(err, "the stack's events cannot be read")
	}
	if len(out.StackEvents) == 0 {
		return "", nil
	}
	return aws.ToString(out.StackEvents[0].EventId), nil
}

// follow tells each event of a stack behind the one named, until the stack has come to rest, and returns its status.
func (d *Deployer) follow(ctx context.Context, stackID, last string) (types.StackStatus, error) {
	for {
		out, err := d.stacks.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(stackID)})
		if err != nil {
			return "", failed(err, "the stack cannot be looked at")
		}
		if last, err = d.tell(ctx, stackID, last); err != nil {
			return "", err
		}
		if len(out.Stacks) == 1 && !strings.HasSuffix(string(out.Stacks[0].StackStatus), "_IN_PROGRESS") {
			return out.Stacks[0].StackStatus, nil
		}
		if err := d.pause(ctx); err != nil {
			return "", err
		}
	}
}

// tell passes on the events behind the one named and returns the newest one's id.
func (d *Deployer) tell(ctx context.Context, stackID, last string) (newest string, err error) {
	var events []types.StackEvent
	pages := cloudformation.NewDescribeStackEventsPaginator(d.stacks, &cloudformation.DescribeStackEventsInput{StackName: aws.String(stackID)})
	for known := false; pages.HasMorePages() && !known; {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return last, failed(err, "the stack's events cannot be read")
		}
		// The newest come first.
		at := slices.IndexFunc(page.StackEvents, func(e types.StackEvent) bool { return aws.ToString(e.EventId) == last })
		if known = at >= 0; known {
			page.StackEvents = page.StackEvents[:at]
		}
		events = append(events, page.StackEvents...)
	}
	for _, e := range slices.Backward(events) {
		last = aws.ToString(e.EventId)
		d.progress(Event{
			Kind: EventResource, Resource: aws.ToString(e.LogicalResourceId), Type: aws.ToString(e.ResourceType),
			Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
		})
	}
	return last, nil
}
