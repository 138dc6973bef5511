package deploy

import "strings"

// Timeouts of functions, in seconds. API Gateway gives up after 29.
const (
	requestTimeout = 29
	workerTimeout  = 60
)

// function is one Lambda function: a role of cmd/eureka-lambda.
type function struct {
	name        string // of the resource
	role        string // EUREKA_ROLE
	memory      int    // MiB, which decides the share of a CPU too
	timeout     int    // seconds
	description string
	callers     bool // who calls it brings a credential
	rules       bool // it evaluates rules
	closes      bool // it ends sockets: at their frames, on request, or when their credential has ended
	consumes    string
	batch       int // messages of one call
	concurrency any
}

func functions() []function {
	return []function{
		{name: "Ws", role: "ws", memory: 512, timeout: requestTimeout, description: "connects, frames and ends of sockets", callers: true, rules: true, closes: true},
		{name: "Http", role: "http", memory: 512, timeout: requestTimeout, description: "the HTTP API", callers: true, rules: true, closes: true},
		{
			name: "Events", role: "events", memory: 512, timeout: workerTimeout, description: "events of the topic and its queue",
			rules: true, consumes: "EventsQueue", batch: 10, concurrency: 20,
		},
		{
			// A task may take the whole time of a call, so each has a call of its own.
			name: "Fanout", role: "fanout", memory: 1024, timeout: workerTimeout, description: "deliveries to shards of subscribers, and resumes",
			rules: true, consumes: "TasksQueue", batch: 1, concurrency: ref("FanoutConcurrency"),
		},
		{name: "Schedule", role: "schedule", memory: 256, timeout: workerTimeout, description: "the sweep of sockets whose end nobody reported", closes: true},
	}
}

// ruleErrors finds the lines in which functions count failing rules: lambdaapp.RulesFailed.
const ruleErrors = `{ $.msg = "rules failed" }`

// functionName is the function's name in AWS, for Fn::Sub.
func (f function) functionName() string { return "eureka-${Stage}-" + f.role }

func (f function) resources() object {
	out := object{
		f.name + "Log": resource("Logs::LogGroup", object{
			"LogGroupName": sub("/aws/lambda/" + f.functionName()), "RetentionInDays": ref("LogRetentionDays"),
		}),
		f.name + "Role": f.executionRole(),
		f.name + "Function": resource("Lambda::Function", object{
			"FunctionName": sub(f.functionName()), "Description": "Eureka Sockets: " + f.description,
			"Runtime": "provided.al2023", "Architectures": list{"arm64"}, "Handler": "bootstrap",
			"Code":          object{"S3Bucket": ref(ParameterCodeBucket), "S3Key": ref(ParameterCodeKey)},
			"Role":          arn(f.name + "Role"),
			"MemorySize":    f.memory,
			"Timeout":       f.timeout,
			"Environment":   object{"Variables": f.environment()},
			"LoggingConfig": object{"LogGroup": ref(f.name + "Log"), "LogFormat": "JSON"},
		}),
		f.name + "Errors":    f.alarm("Errors", "a call failed"),
		f.name + "Throttles": f.alarm("Throttles", "calls were refused because too many ran"),
	}
	if f.rules {
		out[f.name+"RuleErrors"] = resource("Logs::MetricFilter", object{
			"LogGroupName": ref(f.name + "Log"), "FilterPattern": ruleErrors,
			"MetricTransformations": list{object{
				"MetricNamespace": sub("Eureka/${Stage}"), "MetricName": "RuleErrors", "MetricValue": "$.count", "Unit": "Count",
				"Dimensions": list{object{"Key": "kind", "Value": "$.kind"}},
			}},
		})
	}
	if f.consumes != "" {
		out[f.name+"Source"] = resource("Lambda::EventSourceMapping", object{
			"EventSourceArn": arn(f.consumes), "FunctionName": ref(f.name + "Function"), "BatchSize": f.batch,
			"FunctionResponseTypes": list{"ReportBatchItemFailures"},
			"ScalingConfig":         object{"MaximumConcurrency": f.concurrency},
		})
	}
	return out
}

// environment is what docs/adr/0012 says.
func (f function) environment() object {
	env := object{
		"EUREKA_ROLE": f.role, "EUREKA_STAGE": ref(ParameterStage), "EUREKA_TABLE": ref("Table"),
		"EUREKA_TASKS_QUEUE_URL": ref("TasksQueue"), "EUREKA_MANAGEMENT_URL": sub(managementAddress),
		"EUREKA_LOG_LEVEL": ref("LogLevel"), "EUREKA_VERSION": ref(ParameterVersion),
		"EUREKA_UNDECLARED_CHANNELS": ref("UndeclaredChannels"), "EUREKA_AUTH": ref("Auth"), "EUREKA_MAX_SUBSCRIPTIONS": ref("MaxSubscriptions"),
	}
	if f.callers {
		for variable, parameter := range map[string]string{
			"ADMIN_KEY": "AdminKey", "JWT_SECRET": "JwtSecret", "JWT_PUBLIC_KEY_PEM": "JwtPublicKeyPem", "JWT_JWKS": "JwtJwks",
			"JWT_ISSUER": "JwtIssuer", "JWT_AUDIENCE": "JwtAudience", "ALLOWED_ORIGINS": "AllowedOrigins",
		} {
			env["EUREKA_"+variable] = ref(parameter)
		}
	}
	return env
}

func (f function) alarm(metric, what string) object {
	return alarm("eureka-${Stage}-"+f.role+"-"+strings.ToLower(metric), what+" in the function that does "+f.description, "AWS/Lambda", metric,
		object{"Name": "FunctionName", "Value": ref(f.name + "Function")})
}
