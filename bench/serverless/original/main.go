// Command original is a function that broadcasts as the original of this service did: one read of the connection's item and one post for each recipient,
// twenty at a time, all of it in the function that was asked. bench/serverless measures the service beside it.
//
// It is a favourable version of the original: it is written in Go, reaches sockets by the service's own client of @connections, reads its items
// eventually consistently, and has the subscribers of a channel in one partition, so that it finds them by a query. It knows no more than
// the measurement needs: sockets that connect with ?channels=A,B, and broadcasts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
)

// parallel is how many recipients the original served at a time.
const parallel = 20

func main() {
	b, err := newBroadcaster(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "original:", err)
		os.Exit(1)
	}
	switch os.Getenv("EUREKA_ROLE") {
	case "ws":
		lambda.Start(b.socket)
	case "http":
		lambda.Start(b.request)
	default: // no queue is used, and nothing is to be done by schedule
		lambda.Start(func(context.Context) error { return nil })
	}
}

// broadcaster keeps its connections between invocations, as the original did.
type broadcaster struct {
	table  string
	client *dynamodb.Client
	poster *apigw.Poster
}

func newBroadcaster(get func(string) string) (*broadcaster, error) {
	who := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: get("AWS_ACCESS_KEY_ID"), SecretAccessKey: get("AWS_SECRET_ACCESS_KEY"), SessionToken: get("AWS_SESSION_TOKEN")}, nil
	})
	poster, err := apigw.NewPoster(apigw.PosterOptions{URL: get("EUREKA_MANAGEMENT_URL"), Region: get("AWS_REGION"), Credentials: who})
	if err != nil {
		return nil, err
	}
	endpoint := get("AWS_ENDPOINT_URL_DYNAMODB")
	return &broadcaster{
		table: get("EUREKA_TABLE"), poster: poster,
		client: dynamodb.New(dynamodb.Options{Region: get("AWS_REGION"), Credentials: who, BaseEndpoint: &endpoint}),
	}, nil
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// socket notes a connection, with what the original kept of one, and its subscriptions.
func (b *broadcaster) socket(ctx context.Context, e events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
	if e.RequestContext.EventType != "CONNECT" {
		return events.APIGatewayProxyResponse{StatusCode: http.StatusOK}, nil
	}
	id, channels := e.RequestContext.ConnectionID, e.QueryStringParameters["channels"]
	items := []map[string]types.AttributeValue{{
		dynamo.KeyPartition: text("connection#" + id), dynamo.KeySort: text("c"), "type": text("connection"), "stage": text(e.RequestContext.Stage),
		"domain": text(e.RequestContext.DomainName), "connectionId": text(id), "remote": text(e.RequestContext.Identity.SourceIP),
		"connectedAt": text(fmt.Sprint(e.RequestContext.ConnectedAt)), "agent": text(e.RequestContext.Identity.UserAgent), "channels": text(channels),
	}}
	for channel := range strings.SplitSeq(channels, ",") {
		items = append(items, map[string]types.AttributeValue{dynamo.KeyPartition: text("channel#" + channel), dynamo.KeySort: text(id)})
	}
	for _, it := range items {
		if _, err := b.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &b.table, Item: it}); err != nil {
			return events.APIGatewayProxyResponse{}, err
		}
	}
	return events.APIGatewayProxyResponse{StatusCode: http.StatusOK}, nil
}

// request is POST /sockets/{channel}/broadcast; everything else is answered with 200.
func (b *broadcaster) request(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	answer := events.APIGatewayV2HTTPResponse{StatusCode: http.StatusOK, Body: "{}"}
	channel, ok := strings.CutSuffix(strings.TrimPrefix(e.RawPath, "/sockets/"), "/broadcast")
	if !ok {
		return answer, nil
	}
	var body struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(e.Body), &body); err != nil {
		return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusBadRequest}, nil //nolint:nilerr // it is the caller's
	}
	n, err := b.broadcast(ctx, channel, body.Data)
	if err != nil {
		return answer, err
	}
	answer.Body = fmt.Sprintf(`{"delivered":%d}`, n)
	return answer, nil
}

func (b *broadcaster) broadcast(ctx context.Context, channel string, data json.RawMessage) (int64, error) {
	frame, err := json.Marshal(map[string]any{"channel": channel, "action": "message", "event": "message", "data": data})
	if err != nil {
		return 0, err
	}
	ids := make(chan string)
	var sent atomic.Int64
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for id := range ids {
				if b.post(ctx, id, frame) == nil {
					sent.Add(1)
				}
			}
		})
	}
	err = b.members(ctx, channel, ids)
	close(ids)
	all.Wait()
	return sent.Load(), err
}

// members sends the ids of a channel's subscribers.
func (b *broadcaster) members(ctx context.Context, channel string, ids chan<- string) error {
	pages := dynamodb.NewQueryPaginator(b.client, &dynamodb.QueryInput{
		TableName: &b.table, KeyConditionExpression: aws.String(dynamo.KeyPartition + " = :channel"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":channel": text("channel#" + channel)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			if id, ok := it[dynamo.KeySort].(*types.AttributeValueMemberS); ok {
				ids <- id.Value
			}
		}
	}
	return nil
}

var errNoConnection = errors.New("there is no such connection")

// post reads a connection and then posts to it.
func (b *broadcaster) post(ctx context.Context, id string, frame []byte) error {
	found, err := b.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &b.table, Key: map[string]types.AttributeValue{dynamo.KeyPartition: text("connection#" + id), dynamo.KeySort: text("c")},
	})
	if err != nil {
		return err
	}
	connection, ok := found.Item["connectionId"].(*types.AttributeValueMemberS)
	if !ok {
		return errNoConnection
	}
	return b.poster.Post(ctx, connection.Value, frame)
}
