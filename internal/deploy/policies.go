package deploy

// executionRole is the role a function runs under: what it needs of this stack, and nothing of anything else.
func (f function) executionRole() object {
	statements := list{
		statement("OwnLog", list{"logs:CreateLogStream", "logs:PutLogEvents"}, object{"Fn::GetAtt": list{f.name + "Log", "Arn"}}),
		statement("Table", list{
			"dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem",
			"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
		}, arn("Table")),
		statement("QueueTasks", list{"sqs:SendMessage"}, arn("TasksQueue")),
		statement("PostToSockets", list{"execute-api:ManageConnections"}, connections("POST")),
	}
	if f.closes {
		statements = append(statements, statement("CloseSockets", list{"execute-api:ManageConnections"}, connections("DELETE")))
	}
	if f.consumes != "" {
		statements = append(statements, statement("TakeWork",
			list{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"}, arn(f.consumes)))
	}
	return resource("IAM::Role", object{
		"Description":              "Eureka Sockets: " + f.description,
		"AssumeRolePolicyDocument": assumedBy("lambda.amazonaws.com"),
		"Policies":                 list{object{"PolicyName": f.role, "PolicyDocument": object{"Version": "2012-10-17", "Statement": statements}}},
	})
}

// connections are the stage's sockets under one method of @connections.
func connections(method string) object {
	return sub("arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${SocketApi}/${Stage}/" + method + "/@connections/*")
}

func statement(sid string, actions list, resource any) object {
	return object{"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
}

func assumedBy(service string) object {
	return object{"Version": "2012-10-17", "Statement": list{
		object{"Effect": "Allow", "Principal": object{"Service": service}, "Action": "sts:AssumeRole"},
	}}
}

// invokes lets a service call a function, for one source alone.
func invokes(function, service string, source object) object {
	return resource("Lambda::Permission", object{
		"FunctionName": ref(function), "Action": "lambda:InvokeFunction", "Principal": service, "SourceArn": source,
	})
}
