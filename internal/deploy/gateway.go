package deploy

// The access log's fields. Paths are not in it, nor queries, which may carry a token.
const accessLog = `{"request":"$context.requestId","connection":"$context.connectionId","route":"$context.routeKey","event":"$context.eventType",` +
	`"status":"$context.status","at":"$context.requestTimeEpoch","address":"$context.identity.sourceIp","error":"$context.error.messageString",` +
	`"integration":"$context.integrationErrorMessage"}`

const httpAccessLog = `{"request":"$context.requestId","route":"$context.routeKey","method":"$context.httpMethod","status":"$context.status",` +
	`"at":"$context.requestTimeEpoch","address":"$context.identity.sourceIp","bytes":"$context.responseLength","integration":"$context.integrationErrorMessage"}`

func proxied(function string) object {
	return sub("arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${" + function + ".Arn}/invocations")
}

func logGroup(name string) object {
	return resource("Logs::LogGroup", object{"LogGroupName": sub("/aws/apigateway/" + name), "RetentionInDays": ref("LogRetentionDays")})
}

// sockets is the WebSocket API.
func sockets() object {
	route := func(key string, more object) object {
		properties := object{
			"ApiId": ref("SocketApi"), "RouteKey": key, "AuthorizationType": "NONE",
			"Target": object{"Fn::Join": list{"/", list{"integrations", ref("SocketIntegration")}}},
		}
		for k, v := range more {
			properties[k] = v
		}
		return resource("ApiGatewayV2::Route", properties)
	}
	stage := resource("ApiGatewayV2::Stage", object{
		"ApiId": ref("SocketApi"), "StageName": ref(ParameterStage), "AutoDeploy": true,
		"AccessLogSettings":    object{"DestinationArn": arn("SocketLog"), "Format": accessLog},
		"DefaultRouteSettings": object{"DetailedMetricsEnabled": true, "LoggingLevel": "ERROR", "DataTraceEnabled": false},
	})
	stage["DependsOn"] = list{"Account", "ConnectRoute", "DefaultRoute", "DisconnectRoute", "DefaultRouteResponse", "SocketFaultLog"}
	account := resource("ApiGateway::Account", object{"CloudWatchRoleArn": arn("AccountRole")})
	accountRole := resource("IAM::Role", object{
		"Description":              "Lets API Gateway write logs in this account and region",
		"AssumeRolePolicyDocument": assumedBy("apigateway.amazonaws.com"),
		"ManagedPolicyArns":        list{sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs")},
	})
	// The account's setting outlives the stack, since other APIs may have come to log through it.
	account["DeletionPolicy"], accountRole["DeletionPolicy"] = "Retain", "Retain"
	account["UpdateReplacePolicy"], accountRole["UpdateReplacePolicy"] = "Retain", "Retain"
	account["Condition"], accountRole["Condition"] = "ManageAccount", "ManageAccount"
	return object{
		"Account": account, "AccountRole": accountRole,
		"SocketLog": logGroup("eureka-${Stage}-sockets"),
		// API Gateway writes its own errors to a group of this name. It would make one itself, which kept them for ever and outlived the stack.
		"SocketFaultLog": logGroup("${SocketApi}/${Stage}"),
		"SocketApi": resource("ApiGatewayV2::Api", object{
			"Name": sub("eureka-${Stage}"), "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.action",
		}),
		"SocketIntegration": resource("ApiGatewayV2::Integration", object{
			"ApiId": ref("SocketApi"), "IntegrationType": "AWS_PROXY", "IntegrationMethod": "POST", "IntegrationUri": proxied("WsFunction"),
			"TimeoutInMillis": requestTimeout * 1000,
		}),
		"ConnectRoute":    route("$connect", object{"AuthorizationType": when("UseIam", "AWS_IAM", "NONE")}),
		"DisconnectRoute": route("$disconnect", nil),
		"DefaultRoute":    route("$default", object{"RouteResponseSelectionExpression": "$default"}),
		"DefaultRouteResponse": resource("ApiGatewayV2::RouteResponse", object{
			"ApiId": ref("SocketApi"), "RouteId": ref("DefaultRoute"), "RouteResponseKey": "$default",
		}),
		"SocketStage": stage,
		"SocketInvoke": invokes("WsFunction", "apigateway.amazonaws.com",
			sub("arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${SocketApi}/${Stage}/*")),
	}
}

// api is the HTTP API. The handler answers cross-origin requests itself, as it does self-hosted.
func api() object {
	return object{
		"HttpLog": logGroup("eureka-${Stage}-http"),
		"HttpApi": resource("ApiGatewayV2::Api", object{"Name": sub("eureka-${Stage}-http"), "ProtocolType": "HTTP"}),
		"HttpIntegration": resource("ApiGatewayV2::Integration", object{
			"ApiId": ref("HttpApi"), "IntegrationType": "AWS_PROXY", "IntegrationUri": arn("HttpFunction"), "PayloadFormatVersion": "2.0",
			"TimeoutInMillis": requestTimeout * 1000,
		}),
		"HttpRoute": resource("ApiGatewayV2::Route", object{
			"ApiId": ref("HttpApi"), "RouteKey": "$default", "AuthorizationType": when("UseIam", "AWS_IAM", "NONE"),
			"Target": object{"Fn::Join": list{"/", list{"integrations", ref("HttpIntegration")}}},
		}),
		"HttpStage": resource("ApiGatewayV2::Stage", object{
			"ApiId": ref("HttpApi"), "StageName": "$default", "AutoDeploy": true,
			"AccessLogSettings":    object{"DestinationArn": arn("HttpLog"), "Format": httpAccessLog},
			"DefaultRouteSettings": object{"DetailedMetricsEnabled": true},
		}),
		"HttpInvoke": invokes("HttpFunction", "apigateway.amazonaws.com",
			sub("arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}/*")),
	}
}

// schedule calls the sweep.
func schedule() object {
	return object{
		"ScheduleRule": resource("Events::Rule", object{
			"Name": sub("eureka-${Stage}-schedule"), "Description": "Eureka Sockets: the sweep", "ScheduleExpression": "rate(5 minutes)", "State": "ENABLED",
			"Targets": list{object{"Id": "sweep", "Arn": arn("ScheduleFunction"), "RetryPolicy": object{"MaximumRetryAttempts": 0}}},
		}),
		"ScheduleInvoke": invokes("ScheduleFunction", "events.amazonaws.com", arn("ScheduleRule")),
	}
}
