package simulator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/engine/dynamo"
)

// What the template gives queues.
const (
	visibilityFactor = 6 // times the function's timeout, as SQS wants it
	receives         = 5 // of a message before it goes to the dead letters
	keptDays         = 4
	keptDeadDays     = 14
)

// queue is a queue and its dead letters.
type queue struct{ url, arn, deadURL, deadARN string }

// resources are what a stage has of AWS's services.
type resources struct {
	table         string
	events, tasks queue
	topic         string // its ARN
}

// clients reach the stand-ins, past what the simulator meters when it sets them up.
type clients struct {
	dynamo *dynamodb.Client
	sqs    *sqs.Client
	sns    *sns.Client
}

func newClients(dynamoEndpoint, queuesEndpoint string) clients {
	who := credentials.NewStaticCredentialsProvider(UserKeyID, UserSecret, "")
	return clients{
		dynamo: dynamodb.New(dynamodb.Options{Region: awslocal.Region, BaseEndpoint: &dynamoEndpoint, Credentials: who}),
		sqs:    sqs.New(sqs.Options{Region: awslocal.Region, BaseEndpoint: &queuesEndpoint, Credentials: who}),
		sns:    sns.New(sns.Options{Region: awslocal.Region, BaseEndpoint: &queuesEndpoint, Credentials: who}),
	}
}

// setUp creates what the stage needs and is not there yet.
func (c clients) setUp(ctx context.Context, stage string, visibility time.Duration) (resources, error) {
	r := resources{table: "eureka-" + stage}
	if err := c.createTable(ctx, r.table); err != nil {
		return r, eureka.WrapError(eureka.CodeUnavailable, err, "the table cannot be created")
	}
	var err error
	if r.events, err = c.createQueue(ctx, "eureka-"+stage+"-events", visibilityOf(roleEvents, visibility)); err == nil {
		r.tasks, err = c.createQueue(ctx, "eureka-"+stage+"-tasks", visibilityOf(roleFanout, visibility))
	}
	if err != nil {
		return r, eureka.WrapError(eureka.CodeUnavailable, err, "the queues cannot be created")
	}
	topic, err := c.sns.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("eureka-" + stage + "-events")})
	if err == nil {
		r.topic = aws.ToString(topic.TopicArn)
		_, err = c.sns.Subscribe(ctx, &sns.SubscribeInput{
			TopicArn: &r.topic, Protocol: aws.String("sqs"), Endpoint: &r.events.arn,
			Attributes: map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q}`, r.events.deadARN)},
		})
	}
	if err != nil {
		return r, eureka.WrapError(eureka.CodeUnavailable, err, "the topic cannot be created")
	}
	return r, nil
}

// visibilityOf is the visibility timeout of a role's queue, unless another is wanted.
func visibilityOf(role string, wanted time.Duration) time.Duration {
	if wanted > 0 {
		return wanted
	}
	return visibilityFactor * specs[role].timeout
}

func (c clients) createTable(ctx context.Context, name string) error {
	_, err := c.dynamo.CreateTable(ctx, dynamo.Definition(name))
	var exists *dynamotypes.ResourceInUseException
	if errors.As(err, &exists) {
		return nil // of an earlier run, on stand-ins that outlive it
	}
	if err != nil {
		return err
	}
	_, err = c.dynamo.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: &name, TimeToLiveSpecification: &dynamotypes.TimeToLiveSpecification{AttributeName: aws.String(dynamo.KeyTTL), Enabled: aws.Bool(true)},
	})
	return err
}

func (c clients) createQueue(ctx context.Context, name string, visibility time.Duration) (queue, error) {
	var q queue
	var err error
	if q.deadURL, q.deadARN, err = c.create(ctx, name+"-dead", map[string]string{"MessageRetentionPeriod": days(keptDeadDays)}); err != nil {
		return q, err
	}
	q.url, q.arn, err = c.create(ctx, name, map[string]string{
		"VisibilityTimeout": strconv.Itoa(max(int(visibility.Seconds()), 1)), "ReceiveMessageWaitTimeSeconds": "20", "MessageRetentionPeriod": days(keptDays),
		"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, q.deadARN, receives),
	})
	return q, err
}

func (c clients) create(ctx context.Context, name string, attributes map[string]string) (url, arn string, err error) {
	created, err := c.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		return "", "", err
	}
	got, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: created.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		return "", "", err
	}
	return aws.ToString(created.QueueUrl), got.Attributes["QueueArn"], nil
}

func days(n int) string { return strconv.Itoa(n * 24 * 3600) }

// Depth is how many messages a queue has.
type Depth struct {
	Waiting  int `json:"waiting"`
	InFlight int `json:"inFlight"`
	Delayed  int `json:"delayed"`
}

// Depths are those of all queues, by name without the stage's part.
func (s *Simulator) Depths(ctx context.Context) (map[string]Depth, error) {
	out := map[string]Depth{}
	for name, url := range map[string]string{
		"events": s.resources.events.url, "eventsDead": s.resources.events.deadURL, "tasks": s.resources.tasks.url, "tasksDead": s.resources.tasks.deadURL,
	} {
		got, err := s.clients.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
			QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
		})
		if err != nil {
			return nil, eureka.WrapError(eureka.CodeUnavailable, err, "the queues do not answer")
		}
		number := func(name string) int {
			n, _ := strconv.Atoi(got.Attributes[name]) // SQS says numbers
			return n
		}
		out[name] = Depth{number("ApproximateNumberOfMessages"), number("ApproximateNumberOfMessagesNotVisible"), number("ApproximateNumberOfMessagesDelayed")}
	}
	return out, nil
}
