package deploy

// alarm fires when a metric's sum is over zero in five minutes. No data is no trouble.
func alarm(name, description, namespace, metric string, dimensions ...any) object {
	return alarmOver(0, name, description, namespace, metric, "Sum", dimensions...)
}

func alarmOver(threshold int, name, description, namespace, metric, statistic string, dimensions ...any) object {
	topic := when("HasAlarmTopic", list{ref("AlarmTopic")}, noValue())
	return resource("CloudWatch::Alarm", object{
		"AlarmName": sub(name), "AlarmDescription": description, "Namespace": namespace, "MetricName": metric, "Dimensions": dimensions,
		"Statistic": statistic, "Period": 300, "EvaluationPeriods": 1, "Threshold": threshold, "ComparisonOperator": "GreaterThanThreshold",
		"TreatMissingData": "notBreaching", "AlarmActions": topic, "OKActions": topic,
	})
}

// oldest is the age in seconds of a waiting message from which on the queues are behind.
const oldest = 300

// alarms are those of the parts that are no functions; functions have their own.
func alarms() object {
	queue := func(name string) object {
		return object{"Name": "QueueName", "Value": object{"Fn::GetAtt": list{name, "QueueName"}}}
	}
	table := object{"Name": "TableName", "Value": ref("Table")}
	const waiting, age = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"
	return object{
		"EventsDead":  alarmOver(0, "eureka-${Stage}-events-dead", "events failed five times and were put aside", "AWS/SQS", waiting, "Maximum", queue("EventsDeadLetters")),
		"TasksDead":   alarmOver(0, "eureka-${Stage}-tasks-dead", "deliveries failed five times and were put aside", "AWS/SQS", waiting, "Maximum", queue("TasksDeadLetters")),
		"EventsLate":  alarmOver(oldest, "eureka-${Stage}-events-late", "events wait for over five minutes", "AWS/SQS", age, "Maximum", queue("EventsQueue")),
		"TasksLate":   alarmOver(oldest, "eureka-${Stage}-tasks-late", "deliveries wait for over five minutes", "AWS/SQS", age, "Maximum", queue("TasksQueue")),
		"TableReads":  alarm("eureka-${Stage}-table-reads", "reads of the table were throttled", "AWS/DynamoDB", "ReadThrottleEvents", table),
		"TableWrites": alarm("eureka-${Stage}-table-writes", "writes of the table were throttled", "AWS/DynamoDB", "WriteThrottleEvents", table),
		// Not IntegrationError: it counts handshakes that the function refuses too.
		"SocketErrors": alarm("eureka-${Stage}-sockets-errors", "the function behind the sockets could not be called", "AWS/ApiGateway", "ExecutionError",
			object{"Name": "ApiId", "Value": ref("SocketApi")}, object{"Name": "Stage", "Value": ref(ParameterStage)}),
		"HttpErrors": alarm("eureka-${Stage}-http-errors", "the HTTP API answered with a status over 499", "AWS/ApiGateway", "5xx",
			object{"Name": "ApiId", "Value": ref("HttpApi")}),
	}
}
