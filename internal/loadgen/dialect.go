package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"eureka"
)

// dialect is what is said to one kind of service, and what its answers mean.
type dialect interface {
	// upgrade appends the handshake of a socket that is to hear some channels, each behind its cursor where it has one.
	upgrade(b []byte, names []string, cursor []byte, resuming bool) []byte
	// greet appends the frames that follow the handshake; confirmations is how many answers the socket is open with.
	greet(b []byte, names []string) (frames []byte, confirmations int)
	// read says what a text frame without a message means.
	read(payload []byte) meaning
	// post appends the request that publishes a message.
	post(b []byte, name string, data []byte) []byte
	// refused is the error in the answer to a publish; nil when it was taken.
	refused(status int, answer []byte) error
}

// meaning is what a frame without a message says.
type meaning struct {
	confirmed int    // so many of the confirmations that are awaited
	failure   string // what was refused or said at the end
	code      eureka.Code
	cursor    []byte // position of the subscription; part of the frame
	recovered bool   // what was missed follows
	lost      bool   // it does not
	reply     string // text frame to answer with
}

// newDialect returns what to speak; o is valid.
func newDialect(o Options) dialect {
	to, _ := o.target() // valid
	base := speech(to)
	switch o.Protocol {
	case Centrifugo:
		return &centrifugo{speech: base, token: o.Token, key: o.APIKey}
	case Bare:
		return &bare{speech: base}
	case Eureka:
	}
	e := &eurekaDialect{speech: base}
	publisher := o.APIKey
	if publisher == "" {
		publisher = o.Token
	}
	e.socketAuth, e.publishAuth = bearer(o.Token), bearer(publisher)
	return e
}

func bearer(credential string) string {
	if credential == "" {
		return ""
	}
	return "Authorization: Bearer " + credential + "\r\n"
}

// speech is what all dialects share.
type speech struct{ host, path string }

func (s *speech) handshake(b []byte, path, headers string) []byte {
	return append(b, "GET "+s.path+path+" HTTP/1.1\r\nHost: "+s.host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+handshakeKey+"\r\nUser-Agent: eureka-bench\r\n"+headers+"\r\n"...)
}

func (s *speech) request(b []byte, path, headers string, body ...[]byte) []byte {
	length := 0
	for _, part := range body {
		length += len(part)
	}
	b = append(b, "POST "+s.path+path+" HTTP/1.1\r\nHost: "+s.host+"\r\nContent-Type: application/json\r\n"+headers+"Content-Length: "...)
	b = append(strconv.AppendInt(b, int64(length), 10), "\r\n\r\n"...)
	for _, part := range body {
		b = append(b, part...)
	}
	return b
}

// eurekaDialect is docs/protocol.md.
type eurekaDialect struct {
	speech

	socketAuth, publishAuth string
}

func (d *eurekaDialect) upgrade(b []byte, names []string, cursor []byte, resuming bool) []byte {
	query := strings.Join(names, ",")
	if resuming {
		query = names[0] + "@" + string(cursor)
	}
	return d.handshake(b, "/?channels="+query, d.socketAuth)
}

func (d *eurekaDialect) greet(b []byte, _ []string) (frames []byte, confirmations int) { return b, 0 }

func (d *eurekaDialect) read(payload []byte) (m meaning) {
	switch {
	case bytes.Contains(payload, []byte(`"action":"subscribed"`)):
		m.confirmed = 1
		m.cursor = field(payload, `"cursor":"`)
		m.recovered = bytes.Contains(payload, []byte(`"recovered":true`))
		m.lost = bytes.Contains(payload, []byte(`"recovered":false`))
	case bytes.Contains(payload, []byte(`"action":"error"`)), bytes.Contains(payload, []byte(`"action":"bye"`)):
		m.failure, m.code = string(payload), eureka.CodeUnavailable
		var said struct {
			Channel string
			Error   struct{ Code, Message string }
			Data    struct {
				Code   int
				Reason string
			}
		}
		if json.Unmarshal(payload, &said) == nil {
			m.failure = said.Error.Message
			if said.Error.Code != "" {
				m.code = eureka.Code(said.Error.Code)
			} else {
				m.failure = fmt.Sprintf("closed with %d: %s", said.Data.Code, said.Data.Reason)
			}
			if said.Channel != "" {
				m.failure = said.Channel + ": " + m.failure
			}
		}
	}
	return m
}

func (d *eurekaDialect) post(b []byte, name string, data []byte) []byte {
	return d.request(b, "/channels/"+name+"/broadcast", d.publishAuth, []byte(`{"data":`), data, []byte(`}`))
}

func (d *eurekaDialect) refused(status int, answer []byte) error {
	if status/100 == 2 {
		return nil
	}
	var problem struct {
		Code   eureka.Code
		Detail string
	}
	if json.Unmarshal(answer, &problem) != nil || problem.Code == "" {
		return unexpected(status, answer)
	}
	return eureka.Errorf(problem.Code, "%s", problem.Detail)
}

// field is the text behind a key up to the next quote; nil when the key is not there.
func field(payload []byte, key string) []byte {
	at := bytes.Index(payload, []byte(key))
	if at < 0 {
		return nil
	}
	rest := payload[at+len(key):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil
	}
	return rest[:end]
}

// cursorOf is the cursor of a message frame: the last field that it has.
func cursorOf(payload []byte) []byte {
	at := bytes.LastIndex(payload, []byte(`"id":"`))
	if at < 0 {
		return nil
	}
	return field(payload[at:], `"id":"`)
}

// centrifugo is the JSON protocol of Centrifugo and its HTTP API.
type centrifugo struct {
	speech

	token, key string
}

func (d *centrifugo) upgrade(b []byte, _ []string, _ []byte, _ bool) []byte {
	return d.handshake(b, "/connection/websocket", "")
}

// commandBytes is how much of the commands goes into one frame: Centrifugo takes 64 KB by default.
const commandBytes = 32 << 10

func (d *centrifugo) greet(b []byte, names []string) (frames []byte, confirmations int) {
	commands := []byte(`{"id":1,"connect":{}}`)
	if d.token != "" {
		token, _ := json.Marshal(d.token) // a string
		commands = append(append([]byte(`{"id":1,"connect":{"token":`), token...), "}}"...)
	}
	for i, name := range names {
		if len(commands) > commandBytes {
			b, commands = maskedText(b, commands), nil
		}
		if len(commands) > 0 {
			commands = append(commands, '\n')
		}
		commands = fmt.Appendf(commands, `{"id":%d,"subscribe":{"channel":"%s"}}`, i+2, name)
	}
	return maskedText(b, commands), 1 + len(names)
}

func (d *centrifugo) read(payload []byte) (m meaning) {
	for line := range bytes.SplitSeq(payload, []byte("\n")) {
		switch {
		case string(line) == "{}": // its ping
			m.reply = "{}"
		case !bytes.HasPrefix(line, []byte(`{"id":`)):
		case bytes.Contains(line, []byte(`"error":`)):
			m.failure, m.code = string(line), eureka.CodeForbidden
		default:
			m.confirmed++
		}
	}
	return m
}

func (d *centrifugo) post(b []byte, name string, data []byte) []byte {
	return d.request(b, "/api/publish", "X-API-Key: "+d.key+"\r\n", []byte(`{"channel":"`+name+`","data":`), data, []byte(`}`))
}

func (d *centrifugo) refused(status int, answer []byte) error {
	if status/100 == 2 && !bytes.Contains(answer, []byte(`"error":`)) {
		return nil
	}
	return unexpected(status, answer)
}

// bare is bench/bare.
type bare struct{ speech }

func (d *bare) upgrade(b []byte, _ []string, _ []byte, _ bool) []byte { return d.handshake(b, "/", "") }

func (d *bare) greet(b []byte, _ []string) (frames []byte, confirmations int) { return b, 0 }

func (d *bare) read([]byte) meaning { return meaning{} }

func (d *bare) post(b []byte, _ string, data []byte) []byte { return d.request(b, "/", "", data) }

func (d *bare) refused(status int, answer []byte) error {
	if status/100 == 2 {
		return nil
	}
	return unexpected(status, answer)
}

// unexpected is an answer that has no words of ours.
func unexpected(status int, answer []byte) error {
	code := eureka.CodeUnavailable
	for _, c := range eureka.Codes() {
		if c.Outcome().HTTPStatus == status && c != eureka.CodeUnknownAction {
			code = c
			break
		}
	}
	return eureka.Errorf(code, "the service answered %d %s: %.300s", status, http.StatusText(status), bytes.TrimSpace(answer))
}
