package deploy

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka"
)

// Info is a deployed stage.
type Info struct {
	Stage     string            `json:"stage"`
	Region    string            `json:"region"`
	Stack     string            `json:"stack"`
	Status    string            `json:"status"` // of the stack
	Reason    string            `json:"reason,omitempty"`
	Version   string            `json:"version"`   // of the service
	UpdatedAt int64             `json:"updatedAt"` // epoch milliseconds of the last change
	Resources int               `json:"resources"`
	Waiting   map[string]int    `json:"waiting"` // messages by queue: events, tasks, eventsDead, tasksDead
	Outputs   map[string]string `json:"outputs"`
}

// WebSocket is where clients connect.
func (i Info) WebSocket() string { return i.Outputs[OutputWebSocket] }

// HTTP is where the HTTP API is.
func (i Info) HTTP() string { return i.Outputs[OutputHTTP] }

// Info reads what is deployed. CodeNotFound when the stage is not.
func (d *Deployer) Info(ctx context.Context) (Info, error) {
	stack, err := d.find(ctx)
	if err != nil {
		return Info{}, err
	}
	if stack == nil || stack.StackStatus == types.StackStatusReviewInProgress {
		return Info{}, eureka.Errorf(eureka.CodeNotFound, "stage %q is not deployed in %s; eureka deploy --stage %s does it", d.stage, d.region, d.stage)
	}
	info := Info{
		Stage: d.stage, Region: d.region, Stack: d.StackName(), Status: string(stack.StackStatus), Reason: aws.ToString(stack.StackStatusReason),
		UpdatedAt: aws.ToTime(stack.CreationTime).UnixMilli(), Outputs: map[string]string{}, Waiting: map[string]int{},
	}
	if stack.LastUpdatedTime != nil {
		info.UpdatedAt = stack.LastUpdatedTime.UnixMilli()
	}
	for _, o := range stack.Outputs {
		info.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	info.Version = info.Outputs[OutputVersion]
	pages := cloudformation.NewListStackResourcesPaginator(d.stacks, &cloudformation.ListStackResourcesInput{StackName: stack.StackId})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Info{}, failed(err, "the stack's resources cannot be listed")
		}
		info.Resources += len(page.StackResourceSummaries)
	}
	return info, d.countWaiting(ctx, &info)
}

func (d *Deployer) countWaiting(ctx context.Context, info *Info) error {
	const waiting = sqstypes.QueueAttributeNameApproximateNumberOfMessages
	for name, output := range map[string]string{"events": OutputEvents, "tasks": OutputTasks, "eventsDead": OutputDeadEvents, "tasksDead": OutputDeadTasks} {
		url := info.Outputs[output]
		if url == "" {
			continue // a stack that is not complete
		}
		out, err := d.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
			QueueUrl: aws.String(url), AttributeNames: []sqstypes.QueueAttributeName{waiting},
		})
		if err != nil {
			return failed(err, "the queues cannot be looked at")
		}
		n, err := strconv.Atoi(out.Attributes[string(waiting)])
		if err != nil {
			return eureka.WrapError(eureka.CodeInternal, err, "SQS tells no number of messages")
		}
		info.Waiting[name] = n
	}
	return nil
}
