package intake_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/intake"
)

const cloud = `{"specversion":"1.0","id":"A1","source":"/orders","type":"orders-api.order.create","subject":"7","time":"2023-11-14T22:13:20.5Z","comexampleext":3,"data":{"a":1}}`

// cloudID is what source "/orders" and id "A1" make.
const cloudID = "ce-92111ef88aa5bf613edb4f45dd83440a"

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       eureka.Event
	}{
		{"native", `{"service":"shop","modelType":"order","modelId":"7","event":"create","data":{"a":1},"ts":1700000000000}`,
			eureka.Event{Service: "shop", ModelType: "order", ModelID: "7", Event: "create", Data: json.RawMessage(`{"a":1}`), TS: 1700000000000}},
		{"the original's payload", `{"channelId":"1000001","service":"shop","modelType":"order","event":"","ts":"2023-11-14 22:13:20","data":{"id":"7","type":"order"}}`,
			eureka.Event{ChannelID: "1000001", Service: "shop", ModelType: "order", Data: json.RawMessage(`{"id":"7","type":"order"}`), TS: 1700000000000}},
		{"no time", `{"channelId":"a","ts":null,"data":1}`, eureka.Event{ChannelID: "a", Data: json.RawMessage(`1`)}},
		{"the first time", `{"channelId":"a","ts":0,"data":1}`, eureka.Event{ChannelID: "a", Data: json.RawMessage(`1`)}},
		{"a CloudEvent by its type", cloud,
			eureka.Event{ID: cloudID, Service: "orders-api", ModelType: "order", ModelID: "7", Event: "create", Data: json.RawMessage(`{"a":1}`), TS: 1700000000500}},
		{"a CloudEvent of two parts, without data", `{"specversion":"1.0","id":"A1","source":"/orders","type":"orders-api.order"}`,
			eureka.Event{ID: cloudID, Service: "orders-api", ModelType: "order", Data: json.RawMessage(`null`)}},
		{"a CloudEvent by its attributes", `{"specversion":"1.0","id":"A1","source":"/orders","type":"com.example.order.created","service":"shop","modeltype":"order","modelid":"8","subject":"7","data":null}`,
			eureka.Event{ID: cloudID, Service: "shop", ModelType: "order", ModelID: "8", Event: "com.example.order.created", Data: json.RawMessage(`null`)}},
		{"a CloudEvent's event", `{"specversion":"1.0","id":"A1","source":"/orders","type":"orders-api.order.create","event":"made","data":1}`,
			eureka.Event{ID: cloudID, Service: "orders-api", ModelType: "order", Event: "made", Data: json.RawMessage(`1`)}},
		{"a CloudEvent for a channel", `{"specversion":"1.0","id":"A1","source":"/orders","type":"x","channelid":"room","data":1}`,
			eureka.Event{ID: cloudID, ChannelID: "room", Event: "x", Data: json.RawMessage(`1`)}},
		{"a CloudEvent's text", `{"specversion":"1.0","id":"A1","source":"/orders","type":"a.b","datacontenttype":"text/plain","data_base64":"R3LDvMOfZQ=="}`,
			eureka.Event{ID: cloudID, Service: "a", ModelType: "b", Data: json.RawMessage(`"Grüße"`)}},
		{"a CloudEvent's JSON in base64", `{"specversion":"1.0","id":"A1","source":"/orders","type":"a.b","datacontenttype":"application/vnd.x+json; charset=utf-8","data_base64":"eyJhIjoxfQ=="}`,
			eureka.Event{ID: cloudID, Service: "a", ModelType: "b", Data: json.RawMessage(`{"a":1}`)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := intake.Events([]byte(" " + tt.body + "\n"))
			if diff := cmp.Diff([]eureka.Event{tt.want}, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			both, err := intake.Events([]byte("[" + tt.body + `,{"channelId":"b","data":2}]`))
			if diff := cmp.Diff([]eureka.Event{tt.want, {ChannelID: "b", Data: json.RawMessage(`2`)}}, both); err != nil || diff != "" {
				t.Errorf("in an array: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestEventsRefused(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(cloud, from, to, 1) }
	for body, want := range map[string]string{
		` `:  `body: is empty; it must be an event or an array of events`,
		`7`:  `body: is not a JSON object`,
		`{a`: `body: is not valid JSON`,
		`[]`: `body: has no event`,
		`[`:  `body: is not valid JSON`,
		`[{"channelId":"a","data":1},{"channelId":"a"}]`:                               `event 1: data: is missing`,
		`{"channelId":"a","data":1,"ts":-1}`:                                           `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"ts":1.5}`:                                          `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"ts":1e30}`:                                         `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"ts":"yesterday"}`:                                  `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"ts":{}}`:                                           `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"ts":"1900-01-01 00:00:00"}`:                        `ts: must be epoch milliseconds or YYYY-MM-DD HH:mm:ss`,
		`{"channelId":"a","data":1,"colour":1}`:                                        `colour: is no field of an event`,
		`{"channelId":1,"data":1}`:                                                     `channelId: must be a string`,
		change(`"1.0"`, `"0.3"`):                                                       `specversion: must be "1.0"`,
		change(`"1.0"`, `1`):                                                           `specversion: must be a string`,
		change(`"id":"A1",`, ``):                                                       `id: is missing; a CloudEvent has specversion, id, source and type`,
		change(`"source":"/orders",`, `"source":null,`):                                `source: is missing; a CloudEvent has specversion, id, source and type`,
		change(`"orders-api.order.create"`, `""`):                                      `type: is missing; a CloudEvent has specversion, id, source and type`,
		change(`orders-api.order.create`, `com.a.b.c`):                                 `type: must be service.modelType or service.modelType.event; for any other type say where it goes with the attributes service and modeltype, or channelid`,
		change(`orders-api.order.create`, `.order`):                                    `an event needs service and modelType, or a channelId`,
		change(`"comexampleext":3`, `"service":"only"`):                                `an event needs service and modelType, or a channelId`,
		change(`2023-11-14T22:13:20.5Z`, `2023-11-14`):                                 `time: must be a time of RFC 3339 since 1970`,
		change(`"data":{"a":1}`, `"data_base64":7`):                                    `data_base64: must be a string, and stand alone`,
		change(`"comexampleext":3`, `"data_base64":"MQ=="`):                            `data_base64: must be a string, and stand alone`,
		change(`"data":{"a":1}`, `"data_base64":"*"`):                                  `data_base64: is not base64`,
		change(`"data":{"a":1}`, `"data_base64":"/w=="`):                               `data_base64: is not valid JSON; say what it is with datacontenttype`,
		change(`"data":{"a":1}`, `"datacontenttype":"image/png","data_base64":"/w=="`): `data_base64: is neither JSON nor text`,
	} {
		if got, err := intake.Events([]byte(body)); err == nil || eureka.CodeOf(err) != eureka.CodeInvalid || eureka.MessageOf(err) != want {
			t.Errorf("%s\n got %v, %v\nwant %s", body, got, err, want)
		}
	}
	many := "[" + strings.Repeat("{},", intake.MaxEvents) + "{}]"
	if _, err := intake.Events([]byte(many)); eureka.CodeOf(err) != eureka.CodeTooLarge {
		t.Errorf("too many: %v", err)
	}
}

// envelope is what a topic puts around a message on its way into a queue.
func envelope(t *testing.T, message, attributes string) string {
	t.Helper()
	text, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return `{"Type":"Notification","MessageId":"22b80b92","TopicArn":"arn:aws:sns:eu-west-1:123456789012:events","Subject":"x","Message":` + string(text) +
		`,"Timestamp":"2023-11-14T22:13:20.500Z","SignatureVersion":"1","MessageAttributes":{` + attributes + `}}`
}

func TestQueued(t *testing.T) {
	shop := eureka.Event{Service: "shop", ModelType: "order", Data: json.RawMessage(`1`)}
	withID := func(ev eureka.Event, id string) eureka.Event { ev.ID = id; return ev }
	const plain = `{"service":"shop","modelType":"order","data":1}`
	cloudAttributes := map[string]string{
		"ce-specversion": "1.0", "ce-id": "A1", "ce-source": "/orders", "ce-type": "orders-api.order.create", "ce-subject": "7", "Content-Type": "text/plain",
	}
	fromAttributes := eureka.Event{ID: cloudID, Service: "orders-api", ModelType: "order", ModelID: "7", Event: "create", Data: json.RawMessage(`"hello"`)}
	for _, tt := range []struct {
		name    string
		message intake.Message
		want    []eureka.Event
	}{
		{"raw", intake.Message{ID: "m1", Body: plain}, []eureka.Event{withID(shop, "message-1abc3956c1be1171993863512d6a7701")}},
		{"its own id stays", intake.Message{ID: "m1", Body: `{"id":"e1","service":"shop","modelType":"order","data":1}`}, []eureka.Event{withID(shop, "e1")}},
		{"several", intake.Message{ID: "m1", Body: "[" + plain + "," + plain + "]"}, []eureka.Event{withID(shop, "message-1abc3956c1be1171993863512d6a7701"), withID(shop, "message-b5976c50a0bfd0a265a8b635c3fb400e")}},
		{"from a topic", intake.Message{ID: "m1", Body: envelope(t, plain, "")}, []eureka.Event{withID(shop, "message-355cb346719c12f3e1cac1ef7f7a3b96")}},
		{"from a topic, the queue's second", intake.Message{ID: "m2", Body: envelope(t, plain, "")}, []eureka.Event{withID(shop, "message-355cb346719c12f3e1cac1ef7f7a3b96")}},
		{"attributes", intake.Message{ID: "m1", Body: "hello", Attributes: cloudAttributes}, []eureka.Event{fromAttributes}},
		{"structured, attributes beside it", intake.Message{ID: "m1", Body: cloud, Attributes: map[string]string{
			"ce-specversion": "1.0", "ce-id": "A1", "ce-source": "/orders", "ce-type": "orders-api.order.create", "content-type": "application/cloudevents+json; charset=utf-8",
		}}, []eureka.Event{{ID: cloudID, Service: "orders-api", ModelType: "order", ModelID: "7", Event: "create", Data: json.RawMessage(`{"a":1}`), TS: 1700000000500}}},
		{"attributes from a topic", intake.Message{ID: "m1", Body: envelope(t, "hello", `"ce-specversion":{"Type":"String","Value":"1.0"},"ce-id":{"Type":"String","Value":"A1"},`+
			`"ce-source":{"Type":"String","Value":"/orders"},"ce-type":{"Type":"String","Value":"orders-api.order.create"},"ce-subject":{"Type":"String","Value":"7"},`+
			`"content-type":{"Type":"String","Value":"text/plain"},"ce-event":{"Type":"Binary","Value":"bm8="}`)}, []eureka.Event{fromAttributes}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := intake.Queued(tt.message)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	for body, want := range map[string]string{
		"\xff":                                "body: is not valid UTF-8",
		strings.Repeat("[", 65):               "the JSON is nested deeper than 64 levels",
		"hello":                               "body: is not valid JSON",
		envelope(t, "hello", ""):              "body: is not valid JSON",
		`{"Type":"SubscriptionConfirmation"}`: "Type: is no field of an event",
	} {
		if _, err := intake.Queued(intake.Message{ID: "m", Body: body}); eureka.MessageOf(err) != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"service":"s","modelType":"m","data":{},"ts":"2023-11-14 22:13:20"}`))
	f.Add([]byte(`[{"channelId":"c","data":1},{"channelId":"c","data":null,"id":null}]`))
	f.Add([]byte(`[1]`))
	f.Add([]byte(cloud))
	f.Add([]byte(`{"specversion":"1.0","id":"A1","source":"/o","type":"a.b","datacontenttype":"text/plain","data_base64":"R3LDvMOfZQ=="}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, err := intake.Events(raw)
		check(t, raw, events, err)
	})
}

func FuzzQueued(f *testing.F) {
	f.Add("m", `{"Type":"Notification","MessageId":"a","TopicArn":"b","Message":"{\"channelId\":\"c\",\"data\":1}","MessageAttributes":{"x":{"Type":"String","Value":"y"}}}`, "", "")
	f.Add("m", `hello`, "orders.order.create", "text/plain")
	f.Add("m", `[{"channelId":"c","data":1}]`, "", "")
	f.Fuzz(func(t *testing.T, id, body, kind, content string) {
		m := intake.Message{ID: id, Body: body}
		if kind != "" {
			m.Attributes = map[string]string{"ce-specversion": "1.0", "ce-id": id, "ce-source": "s", "ce-type": kind, "content-type": content}
		}
		events, err := intake.Queued(m)
		check(t, []byte(body), events, err)
		for _, ev := range events {
			if ev.ID == "" {
				t.Fatalf("%q made an event without an id", body)
			}
		}
	})
}

func check(t *testing.T, raw []byte, events []eureka.Event, err error) {
	t.Helper()
	if err != nil {
		if code := eureka.CodeOf(err); code != eureka.CodeInvalid && code != eureka.CodeTooLarge {
			t.Fatalf("%q: %v", raw, err)
		}
		return
	}
	for _, ev := range events {
		if err := ev.Validate(); err != nil || !json.Valid(ev.Data) || ev.TS < 0 {
			t.Fatalf("%q made %+v, %v", raw, ev, err)
		}
	}
}
