package deploy

import (
	"encoding/json"
	"maps"
)

// object is a JSON object of the template.
type object = map[string]any

// list is a JSON list of the template.
type list = []any

// Intrinsic functions of CloudFormation.
func ref(name string) object     { return object{"Ref": name} }
func sub(text string) object     { return object{"Fn::Sub": text} }
func arn(resource string) object { return object{"Fn::GetAtt": list{resource, "Arn"}} }
func when(condition string, then, otherwise any) object {
	return object{"Fn::If": list{condition, then, otherwise}}
}

// noValue removes a property.
func noValue() object { return ref("AWS::NoValue") }

// resource is one resource of the template.
func resource(kind string, properties object) object {
	return object{"Type": "AWS::" + kind, "Properties": properties}
}

// MaxTemplateBytes is what CloudFormation takes as a template's body; a larger one would have to lie in a bucket.
const MaxTemplateBytes = 51_200

// Template returns the CloudFormation template as JSON without white space, since its size is limited. It is the same at each call.
func Template() ([]byte, error) {
	resources := object{}
	for _, part := range []object{state(), queues(), sockets(), api(), schedule(), alarms()} {
		maps.Copy(resources, part)
	}
	for _, f := range functions() {
		maps.Copy(resources, f.resources())
	}
	return json.Marshal(object{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              "Eureka Sockets: real-time sockets on API Gateway, Lambda, DynamoDB, SNS and SQS",
		"Parameters":               templateParameters(),
		"Conditions": object{
			"UseIam":        object{"Fn::Equals": list{ref("Auth"), "iam"}},
			"HasAlarmTopic": object{"Fn::Not": list{object{"Fn::Equals": list{ref("AlarmTopic"), ""}}}},
			"ManageAccount": object{"Fn::Equals": list{ref("ApiGatewayAccount"), "manage"}},
		},
		"Resources": resources,
		"Outputs":   templateOutputs(),
	})
}

// Parameter names of the template that every deployment sets.
const (
	ParameterStage      = "Stage"
	ParameterCodeBucket = "CodeBucket"
	ParameterCodeKey    = "CodeKey"
	ParameterVersion    = "Version"
)

func templateParameters() object {
	text := func(description string) object {
		return object{"Type": "String", "Default": "", "Description": description}
	}
	secret := func(description string) object {
		return object{"Type": "String", "Default": "", "NoEcho": true, "Description": description}
	}
	choice := func(description, value string, values ...any) object {
		return object{"Type": "String", "Default": value, "AllowedValues": values, "Description": description}
	}
	number := func(description string, value, low, high int) object {
		return object{"Type": "Number", "Default": value, "MinValue": low, "MaxValue": high, "Description": description}
	}
	return object{
		ParameterStage: object{
			"Type": "String", "AllowedPattern": stagePattern, "Description": "Name of the stage, and first segment of the WebSocket API's path.",
		},
		ParameterCodeBucket: object{"Type": "String", "Description": "Bucket with the zip of the functions."},
		ParameterCodeKey:    object{"Type": "String", "Description": "Key of the zip, which changes with its content."},
		ParameterVersion:    object{"Type": "String", "Description": "Version of the service."},
		"Auth": choice("Who may connect and call: service for its tokens and API keys, iam for callers whose signature API Gateway accepts, none for everybody.",
			"service", "service", "iam", "none"),
		"AdminKey":        secret("Credential that may do everything, at least 32 characters; the first API keys are made with it."),
		"JwtSecret":       secret("Shared secret of tokens signed with HS256."),
		"JwtPublicKeyPem": text("Public key of tokens signed with RS256, ES256 or EdDSA, as PEM."),
		"JwtJwks":         text("Addresses of issuers' public keys: URL, or ISSUER=URL for each of several."),
		"JwtIssuer":       text("Required issuer of tokens."),
		"JwtAudience":     text("Audience of which a token must name one."),
		"AllowedOrigins":  text("Origins of browser pages that may connect, with commas between them."),
		"UndeclaredChannels": choice("Whether channels that nobody created may be used; auto: only without authentication.",
			"auto", "auto", "allow", "deny"),
		"MaxSubscriptions": number("Channels that one socket may listen to.", 1000, 1, 1000),
		"LogLevel":         choice("What the functions log.", "info", "debug", "info", "warn", "error"),
		"LogRetentionDays": object{
			"Type": "Number", "Default": 30, "AllowedValues": list{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653},
			"Description": "Days after which logs are removed.",
		},
		"FanoutConcurrency": number("Workers that post at the same time. API Gateway takes 10,000 requests a second of one account, posts to sockets included.", 50, 2, 1000),
		"AlarmTopic":        text("ARN of an SNS topic that alarms are sent to; empty: they only show in CloudWatch."),
		"ApiGatewayAccount": choice("API Gateway writes logs of WebSocket APIs through one role for each account and region. manage: this stack sets it; keep: it is set already.",
			"manage", "manage", "keep"),
	}
}

// Names of the stack's outputs.
const (
	OutputWebSocket   = "WebSocketUrl"
	OutputHTTP        = "HttpUrl"
	OutputManagement  = "ManagementUrl"
	OutputTable       = "TableName"
	OutputTopic       = "EventsTopicArn"
	OutputEvents      = "EventsQueueUrl"
	OutputTasks       = "TasksQueueUrl"
	OutputDeadEvents  = "EventsDeadLettersUrl"
	OutputDeadTasks   = "TasksDeadLettersUrl"
	OutputVersion     = "ServiceVersion"
	managementAddress = "https://${SocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${Stage}"
)

func templateOutputs() object {
	output := func(description string, value any) object { return object{"Description": description, "Value": value} }
	return object{
		OutputWebSocket:  output("Where clients connect", sub("wss://${SocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${Stage}")),
		OutputHTTP:       output("The HTTP API", sub("https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}")),
		OutputManagement: output("Where @connections is", sub(managementAddress)),
		OutputTable:      output("The table", ref("Table")),
		OutputTopic:      output("Where services may publish events", ref("EventsTopic")),
		OutputEvents:     output("The queue behind the topic, which takes events too", ref("EventsQueue")),
		OutputTasks:      output("Deliveries that wait", ref("TasksQueue")),
		OutputDeadEvents: output("Events that failed five times", ref("EventsDeadLetters")),
		OutputDeadTasks:  output("Deliveries that failed five times", ref("TasksDeadLetters")),
		OutputVersion:    output("Version of the service", ref(ParameterVersion)),
	}
}
