package simulator

import "eureka/internal/awslocal"

// Endpoints are where the simulator and its stand-ins are.
type Endpoints struct {
	HTTP        string `json:"http"`
	WebSocket   string `json:"ws"`
	Management  string `json:"management"` // for --endpoint-url of AWS's tools
	Control     string `json:"control"`
	DynamoDB    string `json:"dynamodb"` // metered, as the next
	Queues      string `json:"queues"`   // of SQS and SNS
	Region      string `json:"region"`
	KeyID       string `json:"accessKeyId"`
	Secret      string `json:"secretAccessKey"`
	Table       string `json:"table"`
	Topic       string `json:"eventsTopicArn"`
	EventsQueue string `json:"eventsQueueUrl"`
	EventsDead  string `json:"eventsDeadQueueUrl"`
	TasksQueue  string `json:"tasksQueueUrl"`
	TasksDead   string `json:"tasksDeadQueueUrl"`
}

// HTTP is the address of the APIs.
func (s *Simulator) HTTP() string { return "http://" + s.listener.Addr().String() }

// Endpoints returns where everything is.
func (s *Simulator) Endpoints() Endpoints {
	at := s.listener.Addr().String()
	return Endpoints{
		HTTP: s.HTTP(), WebSocket: "ws://" + at + "/" + s.options.Stage, Management: s.HTTP() + "/" + s.options.Stage,
		Control: "http://" + s.control.Addr().String(), DynamoDB: s.dynamo.Endpoint, Queues: s.queues.Endpoint,
		Region: awslocal.Region, KeyID: UserKeyID, Secret: UserSecret, Table: s.resources.table, Topic: s.resources.topic,
		EventsQueue: s.resources.events.url, EventsDead: s.resources.events.deadURL, TasksQueue: s.resources.tasks.url, TasksDead: s.resources.tasks.deadURL,
	}
}
