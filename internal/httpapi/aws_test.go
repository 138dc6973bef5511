package httpapi_test

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
)

type (
	getConnection    = apigatewaymanagementapi.GetConnectionInput
	postToConnection = apigatewaymanagementapi.PostToConnectionInput
)

// awsClient is the AWS SDK with an endpoint URL, as users point it at this service.
func awsClient(endpoint string) *apigatewaymanagementapi.Client {
	return apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
}

func isGone(err error) bool {
	var gone *types.GoneException
	return errors.As(err, &gone)
}
