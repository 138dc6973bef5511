package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/rogpeppe/go-internal/testscript"
)

// aws post|get|delete ENDPOINT ID [TEXT] calls the management API with the AWS SDK; with ! the socket must be gone.
func verbAWS(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := endpoints{KeyID: "key", Secret: "secret", Region: "eu-west-1"}
	if worldOf(ts).mode == aws { // where signatures are checked
		control(ts, http.MethodGet, "/endpoints", "", &at)
	}
	client := apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
		Region: at.Region, Credentials: credentials.NewStaticCredentialsProvider(at.KeyID, at.Secret, ""), BaseEndpoint: &args[1],
	})
	id := &args[2]
	var err error
	switch args[0] {
	case "post":
		_, err = client.PostToConnection(ctx, &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: id, Data: []byte(args[3])})
	case "get":
		var out *apigatewaymanagementapi.GetConnectionOutput
		if out, err = client.GetConnection(ctx, &apigatewaymanagementapi.GetConnectionInput{ConnectionId: id}); err == nil && out.ConnectedAt == nil {
			err = errors.New("no connectedAt")
		}
	case "delete":
		_, err = client.DeleteConnection(ctx, &apigatewaymanagementapi.DeleteConnectionInput{ConnectionId: id})
	default:
		ts.Fatalf("aws %s is unknown", args[0])
	}
	var gone *types.GoneException
	if neg != errors.As(err, &gone) || (err != nil && gone == nil) {
		ts.Fatalf("aws %s: %v", args[0], err)
	}
}

// topic TEXT… publishes texts to the topic of events, one after the other, as services in AWS do.
func verbTopic(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var at endpoints
	control(ts, http.MethodGet, "/endpoints", "", &at)
	client := sns.New(sns.Options{
		Region: at.Region, BaseEndpoint: &at.Queues, Credentials: credentials.NewStaticCredentialsProvider(at.KeyID, at.Secret, ""),
	})
	for _, text := range args {
		_, err := client.Publish(ctx, &sns.PublishInput{TopicArn: &at.Topic, Message: &text})
		ts.Check(err)
	}
}

// fault RULE… puts faults of the simulator in force, such as throttle=0.5; fault none ends all of them.
func verbFault(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	if len(args) == 1 && args[0] == "none" {
		control(ts, http.MethodDelete, "/faults", "", nil)
		return
	}
	control(ts, http.MethodPost, "/faults", strings.Join(args, "\n"), nil)
}

// crowd N TARGET adds N sockets without clients, which connect at a path with a query, four at a time. crowd count starts counting what they get;
// $CONTROL/crowd tells it. crowd leave ends them.
func verbCrowd(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	const side = "side=4" // a machine of two cores is busy with that
	switch args[0] {
	case "count":
		control(ts, http.MethodGet, "/crowd?reset=true", "", nil)
	case "leave":
		control(ts, http.MethodDelete, "/crowd?"+side, "", nil)
	default:
		control(ts, http.MethodPost, "/crowd?"+side+"&n="+args[0]+"&target="+url.QueryEscape(args[1]), "", nil)
	}
}

// break ID cut|lost|age ends a socket as a broken network does, as one whose $disconnect never comes, or as one that lived for two hours.
func verbBreak(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	control(ts, http.MethodDelete, "/connections/"+url.PathEscape(args[0])+"?how="+args[1], "", nil)
}
