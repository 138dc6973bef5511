package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"eureka/internal/awslocal"
)

// report SUBJECT TEXT REGEXP makes a request to the NATS server of the script, as a service does, and matches the answer.
func verbReport(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	nc, err := nats.Connect(ts.Getenv("NATS"))
	ts.Check(err)
	defer nc.Close()
	ts.Check(poll(func() error {
		reply, err := nc.Request(args[0], []byte(args[1]), patience)
		if err != nil {
			return err // nobody listens yet
		}
		if !regexp.MustCompile(args[2]).Match(reply.Data) {
			return final{fmt.Errorf("the answer is %s", reply.Data)}
		}
		return nil
	}))
}

// sqs start|send TEXT|empty runs a stand-in of SQS with one queue, sends a message to it, or waits until it has none. It sets $SQS and $QUEUE, and the
// environment of the AWS SDKs.
func verbSQS(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	w := worldOf(ts)
	if args[0] == "start" {
		var err error
		w.queues, err = awslocal.StartQueues(ctx)
		ts.Check(err)
		for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": awslocal.Region, "SQS": w.queues.Endpoint} {
			ts.Setenv(name, value)
		}
	}
	client := sqs.New(sqs.Options{BaseEndpoint: awssdk.String(w.queues.Endpoint), Region: awslocal.Region, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	queue := awssdk.String(ts.Getenv("QUEUE"))
	switch args[0] {
	case "start":
		out, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: awssdk.String("events")})
		ts.Check(err)
		ts.Setenv("QUEUE", *out.QueueUrl)
	case "send":
		_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: awssdk.String(args[1])})
		ts.Check(err)
	case "empty":
		ts.Check(poll(func() error {
			out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
			if err != nil {
				return final{err}
			}
			for _, name := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"} {
				if out.Attributes[name] != "0" {
					return fmt.Errorf("%s is %s", name, out.Attributes[name])
				}
			}
			return nil
		}))
	default:
		ts.Fatalf("sqs %s is unknown", args[0])
	}
}

// TestEventsPageCommandsAreRun: every command of docs/events.md stands in its script, in the page's order.
func TestEventsPageCommandsAreRun(t *testing.T) {
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/events.txtar")
	if err != nil {
		t.Fatal(err)
	}
	commands := shellCommands(string(page))
	for i, command := range commands {
		commands[i] = placeholders.Replace(command)
	}
	var run []string
	for line := range strings.Lines(string(script)) {
		if line = strings.TrimSpace(line); slices.Contains(commands, line) {
			run = append(run, line)
		}
	}
	if !slices.Equal(commands, run) || len(commands) < 6 {
		t.Errorf("the page has\n%s\nthe script\n%s", strings.Join(commands, "\n"), strings.Join(run, "\n"))
	}
}
