package deploy

// state is the table.
func state() object {
	table := resource("DynamoDB::Table", object{
		"TableName": sub("eureka-${Stage}"), "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": list{
			object{"AttributeName": "pk", "AttributeType": "S"},
			object{"AttributeName": "sk", "AttributeType": "S"},
		},
		"KeySchema": list{
			object{"AttributeName": "pk", "KeyType": "HASH"},
			object{"AttributeName": "sk", "KeyType": "RANGE"},
		},
		"TimeToLiveSpecification":          object{"AttributeName": "ttl", "Enabled": true},
		"PointInTimeRecoverySpecification": object{"PointInTimeRecoveryEnabled": true},
		"SSESpecification":                 object{"SSEEnabled": true},
	})
	// A change that would replace the table fails rather than lose its content, since a new one could not have its name.
	table["DeletionPolicy"], table["UpdateReplacePolicy"] = "Delete", "Retain"
	return object{"Table": table}
}

// receives is how often a message is tried before it goes to the dead letters.
const receives = 5

// keptDead is how long dead letters stay, in seconds: as long as SQS allows, since people have to look at them.
const keptDead = 14 * 24 * 3600

// queues are the topic and the queues, each with its dead letters.
func queues() object {
	dead := func(name string) object {
		return resource("SQS::Queue", object{"QueueName": sub(name), "SqsManagedSseEnabled": true, "MessageRetentionPeriod": keptDead})
	}
	// SQS wants a visibility timeout of six times the function's.
	queue := func(name, letters string, timeout int) object {
		return resource("SQS::Queue", object{
			"QueueName": sub(name), "SqsManagedSseEnabled": true, "VisibilityTimeout": 6 * timeout, "ReceiveMessageWaitTimeSeconds": 20,
			"MessageRetentionPeriod": 4 * 24 * 3600,
			"RedrivePolicy":          object{"deadLetterTargetArn": arn(letters), "maxReceiveCount": receives},
		})
	}
	return object{
		"EventsTopic": resource("SNS::Topic", object{"TopicName": sub("eureka-${Stage}-events"), "KmsMasterKeyId": "alias/aws/sns"}),
		"EventsTopicPolicy": resource("SNS::TopicPolicy", object{
			"Topics": list{ref("EventsTopic")},
			"PolicyDocument": object{"Version": "2012-10-17", "Statement": list{object{
				"Sid": "PublishersOfThisAccount", "Effect": "Allow", "Principal": object{"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
				"Action": "sns:Publish", "Resource": ref("EventsTopic"),
			}}},
		}),
		"EventsDeadLetters": dead("eureka-${Stage}-events-dead"),
		"TasksDeadLetters":  dead("eureka-${Stage}-tasks-dead"),
		"EventsQueue":       queue("eureka-${Stage}-events", "EventsDeadLetters", workerTimeout),
		"TasksQueue":        queue("eureka-${Stage}-tasks", "TasksDeadLetters", workerTimeout),
		"EventsQueuePolicy": resource("SQS::QueuePolicy", object{
			"Queues": list{ref("EventsQueue"), ref("EventsDeadLetters")},
			"PolicyDocument": object{"Version": "2012-10-17", "Statement": list{
				object{
					"Sid": "FromTheTopic", "Effect": "Allow", "Principal": object{"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
					"Resource":  list{arn("EventsQueue"), arn("EventsDeadLetters")},
					"Condition": object{"ArnEquals": object{"aws:SourceArn": ref("EventsTopic")}},
				},
				object{
					// EventBridge cannot publish to a topic under AWS's own key, so its rules send to the queue.
					"Sid": "FromEventBridge", "Effect": "Allow", "Principal": object{"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
					"Resource":  arn("EventsQueue"),
					"Condition": object{"StringEquals": object{"aws:SourceAccount": ref("AWS::AccountId")}},
				},
			}},
		}),
		"EventsSubscription": resource("SNS::Subscription", object{
			"TopicArn": ref("EventsTopic"), "Protocol": "sqs", "Endpoint": arn("EventsQueue"),
			"RedrivePolicy": object{"deadLetterTargetArn": arn("EventsDeadLetters")},
		}),
	}
}
