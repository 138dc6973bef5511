package source

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queueEvent is what a function gets from a queue.
type queueEvent struct {
	Records []queueRecord `json:"Records"`
}

type queueRecord struct {
	MessageID              string               `json:"messageId"`
	ReceiptHandle          string               `json:"receiptHandle"`
	Body                   string               `json:"body"`
	Attributes             map[string]string    `json:"attributes"`
	MessageAttributes      map[string]attribute `json:"messageAttributes"`
	MD5OfMessageAttributes string               `json:"md5OfMessageAttributes,omitempty"`
	MD5OfBody              string               `json:"md5OfBody"`
	EventSource            string               `json:"eventSource"`
	EventSourceARN         string               `json:"eventSourceARN"`
	AWSRegion              string               `json:"awsRegion"`
}

type attribute struct {
	StringValue      *string  `json:"stringValue,omitempty"`
	BinaryValue      []byte   `json:"binaryValue,omitempty"`
	StringListValues []string `json:"stringListValues"`
	BinaryListValues [][]byte `json:"binaryListValues"`
	DataType         string   `json:"dataType"`
}

func (m *Mapping) event(messages []types.Message) queueEvent {
	e := queueEvent{Records: make([]queueRecord, 0, len(messages))}
	for _, message := range messages {
		r := queueRecord{
			MessageID: aws.ToString(message.MessageId), ReceiptHandle: aws.ToString(message.ReceiptHandle), Body: aws.ToString(message.Body),
			Attributes: message.Attributes, MessageAttributes: map[string]attribute{},
			MD5OfMessageAttributes: aws.ToString(message.MD5OfMessageAttributes), MD5OfBody: aws.ToString(message.MD5OfBody),
			EventSource: "aws:sqs", EventSourceARN: m.options.QueueARN, AWSRegion: m.options.Region,
		}
		for name, a := range message.MessageAttributes {
			r.MessageAttributes[name] = attribute{
				StringValue: a.StringValue, BinaryValue: a.BinaryValue, StringListValues: []string{}, BinaryListValues: [][]byte{}, DataType: aws.ToString(a.DataType),
			}
		}
		e.Records = append(e.Records, r)
	}
	return e
}

// scheduledEvent is what a function gets from a rule of EventBridge that is a schedule.
type scheduledEvent struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

func (s *Schedule) event(now time.Time) ([]byte, error) {
	return json.Marshal(scheduledEvent{
		Version: "0", ID: newUUID(), DetailType: "Scheduled Event", Source: "aws.events", Account: s.options.Account,
		Time: now.UTC().Format(time.RFC3339), Region: s.options.Region,
		Resources: []string{"arn:aws:events:" + s.options.Region + ":" + s.options.Account + ":rule/" + s.options.Rule}, Detail: json.RawMessage("{}"),
	})
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
