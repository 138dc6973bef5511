// Command bootstrap is a function whose every step a test decides: it sends each event to SCRIPT_URL and does what the answer says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
)

type call struct {
	Role      string
	Event     string
	RequestID string
	ARN       string
	Deadline  int64
	PID       int
	Env       []string
}

type post struct{ ID, Data string }

type answer struct {
	Response string
	Error    string
	Panic    string
	Exit     int
	Log      []string
	Posts    []post
	Big      int // bytes of an answer that is too long to be sent twice
}

type handler struct{}

func (handler) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	text, err := json.Marshal(call{
		Role: os.Getenv("EUREKA_ROLE"), Event: string(event), RequestID: lc.AwsRequestID, ARN: lc.InvokedFunctionArn,
		Deadline: deadline.UnixMilli(), PID: os.Getpid(), Env: os.Environ(),
	})
	if err != nil {
		return nil, err
	}
	response, err := http.Post(os.Getenv("SCRIPT_URL"), "application/json", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var a answer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return nil, err
	}
	for _, line := range a.Log {
		fmt.Fprintln(os.Stderr, line)
	}
	for _, p := range a.Posts {
		if err := send(ctx, p); err != nil {
			fmt.Fprintln(os.Stderr, "post:", err)
		}
	}
	switch {
	case a.Exit != 0:
		os.Exit(a.Exit)
	case a.Panic != "":
		panic(a.Panic)
	case a.Error != "":
		return nil, errors.New(a.Error)
	case a.Big > 0:
		return bytes.Repeat([]byte("1"), a.Big), nil
	}
	return []byte(a.Response), nil
}

func send(ctx context.Context, p post) error {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := apigatewaymanagementapi.NewFromConfig(c, func(o *apigatewaymanagementapi.Options) {
		o.BaseEndpoint = aws.String(os.Getenv("EUREKA_MANAGEMENT_URL"))
		o.Retryer = aws.NopRetryer{}
	})
	_, err = client.PostToConnection(ctx, &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: &p.ID, Data: []byte(p.Data)})
	return err
}

func main() {
	switch os.Getenv("SCRIPT_INIT") {
	case "error":
		url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
		response, err := http.Post(url, "application/json", strings.NewReader(`{"errorType":"Script.Init","errorMessage":"no table"}`))
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		os.Exit(1)
	case "exit":
		fmt.Fprint(os.Stderr, "last words without an end of line")
		os.Exit(3)
	}
	lambda.Start(handler{})
}
