package topic

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/intake"
)

const native = `{"service":"shop","modelType":"order","event":"paid","data":1}`

// TestNotifications: both versions of signatures hold, the certificate is fetched once, and a message that comes again counts once.
func TestNotifications(t *testing.T) {
	w := newWorld(t, snsHost)
	noSubject := notification("3", `{"channelId":"room","data":"3"}`)
	delete(noSubject, "Subject")
	for _, tt := range []struct {
		message fields
		want    string
	}{
		{notification("1", native).sign(t, keys.signer), `{"accepted":1,"channels":["orders"]}`},
		{notification("2", `[{"channelId":"room","data":"2a"},{"channelId":"room","data":"2b"}]`).with("SignatureVersion", "1").sign(t, keys.signer), `{"accepted":2,"channels":["room"]}`},
		{noSubject.sign(t, keys.signer), `{"accepted":1,"channels":["room"]}`},
		{notification("4", `{"specversion":"1.0","id":"1","source":"/shop","type":"shop.order.paid","data":"cloud"}`).sign(t, keys.signer), `{"accepted":1,"channels":["orders"]}`},
		{notification("1", native).sign(t, keys.signer), `{"accepted":0,"channels":[]}`},
	} {
		if status, text := w.post(tt.message); status != http.StatusOK || text != tt.want {
			t.Errorf("%d %s, want %s", status, text, tt.want)
		}
	}
	// Through a queue of the same topic, or through another node, which does not share what this one has seen: the same event.
	if queued, err := intake.Queued(intake.Message{ID: "q", Body: envelope(t, notification("1", native))}); err != nil || len(queued) != 1 {
		t.Errorf("%v, %v", queued, err)
	} else if out := w.Intake.Take(t.Context(), "sqs", queued); out.Err != nil || out.Accepted != 1 {
		t.Errorf("%+v", out)
	}
	want := []string{`orders paid "cloud"`, `orders paid 1`, `room message "2a"`, `room message "2b"`, `room message "3"`}
	if diff := cmp.Diff(want, w.Spy.Sorted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := w.aws.times("/cert.pem"); n != 1 {
		t.Errorf("the certificate was fetched %d times", n)
	}
}

func envelope(t *testing.T, f fields) string {
	t.Helper()
	return fmt.Sprintf(`{"Type":"Notification","MessageId":%q,"TopicArn":%q,"Message":%q}`, f["MessageId"], f["TopicArn"], f["Message"])
}

// TestForged: nothing of a message that is not SNS's own, of an allowed topic and of the last hour, gets through, and no other host is asked.
func TestForged(t *testing.T) {
	w := newWorld(t, snsHost)
	w.aws.serve("/forged.pem", encoded(w.aws.authority.issue(t, "sns.amazonaws.com", keys.forger, time.Now().Add(-time.Minute))))
	w.aws.serve("/page.pem", []byte("<html>"))
	w.aws.serve("/long.pem", []byte(strings.Repeat("x", maxFetched+1)))
	w.aws.handle("/moved.pem", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://"+snsHost+"/cert.pem", http.StatusFound)
	})
	fresh := func() fields { return notification("1", native) }
	cert := func(address string) fields { return fresh().with("SigningCertURL", address).sign(t, keys.signer) }
	at := func(d time.Duration) fields {
		return fresh().with("Timestamp", time.Now().Add(d).UTC().Format(time.RFC3339Nano)).sign(t, keys.signer)
	}
	other := fresh().with("TopicArn", "arn:aws:sns:eu-west-1:123456789012:other").sign(t, keys.signer)
	for name, tt := range map[string]struct {
		message fields
		status  int
		want    string
	}{
		"another's key":           {fresh().sign(t, keys.forger), 403, "the signature of the message is not right"},
		"changed after":           {fresh().sign(t, keys.signer).with("Message", `{"channelId":"room","data":"evil"}`), 403, "the signature of the message is not right"},
		"another topic after":     {fresh().sign(t, keys.signer).with("TopicArn", events+"2"), 403, "the signature of the message is not right"},
		"another time after":      {at(-2*time.Hour).with("Timestamp", time.Now().UTC().Format(time.RFC3339Nano)), 403, "the signature of the message is not right"},
		"version 1 said to be 2":  {fresh().with("SignatureVersion", "1").sign(t, keys.signer).with("SignatureVersion", "2"), 403, "the signature of the message is not right"},
		"no base64":               {fresh().with("Signature", "*"), 403, "the signature of the message is not right"},
		"version 3":               {fresh().sign(t, keys.signer).with("SignatureVersion", "3"), 400, "SignatureVersion: must be 1 or 2"},
		"a topic not allowed":     {other, 403, "this topic may not deliver here (setting sns_topics)"},
		"old":                     {at(-maxAge - time.Minute), 403, "the message is not of the last hour"},
		"of the future":           {at(maxSkew + time.Minute), 403, "the message is not of the last hour"},
		"no time":                 {fresh().with("Timestamp", "now").sign(t, keys.signer), 400, "Timestamp: must be a time of RFC 3339"},
		"a foreign host":          {cert("https://sns.eu-west-1.amazonaws.com.evil.example/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"a host that looks alike": {cert("https://evil.example/?sns.eu-west-1.amazonaws.com/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"a user":                  {cert("https://" + snsHost + "@evil.example/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"a port":                  {cert("https://" + snsHost + ":8443/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"another region":          {cert("https://sns.us-east-1.amazonaws.com/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"another service of AWS":  {cert("https://s3.eu-west-1.amazonaws.com/bucket/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"not over TLS":            {cert("http://" + snsHost + "/cert.pem"), 403, "SigningCertURL: is not an address of SNS in the topic's region"},
		"no certificate's name":   {cert("https://" + snsHost + "/?Action=x"), 403, "SigningCertURL: is not an address of a certificate"},
		"a query":                 {cert("https://" + snsHost + "/cert.pem?x=1"), 403, "SigningCertURL: is not an address of a certificate"},
		"not there":               {cert("https://" + snsHost + "/none.pem"), 503, "SNS refused the request"},
		"a redirect":              {cert("https://" + snsHost + "/moved.pem"), 503, "SNS does not answer"},
		"a page":                  {cert("https://" + snsHost + "/page.pem"), 403, "what SigningCertURL points to is no certificate"},
		"too long":                {cert("https://" + snsHost + "/long.pem"), 503, "the answer of SNS is too long"},
		"an expired certificate":  {fresh().with("SigningCertURL", "https://"+snsHost+"/forged.pem").sign(t, keys.forger), 403, "the certificate of the message is not valid now"},
		"no signature":            {fresh(), 400, "Signature: is missing; a message of SNS has it"},
		"an unknown type":         {fresh().with("Type", "Hello").sign(t, keys.signer), 400, "Type: must be Notification, SubscriptionConfirmation or UnsubscribeConfirmation"},
		"a confirmation":          {fresh().with("Type", typeConfirmation).sign(t, keys.signer), 400, "Token: and SubscribeURL are needed in a message of the type SubscriptionConfirmation"},
	} {
		if status, text := w.post(tt.message); status != tt.status || !strings.Contains(text, fmt.Sprintf(`"detail":%q`, tt.want)) {
			t.Errorf("%s: %d %s, want %d %s", name, status, text, tt.status, tt.want)
		}
	}
	for name, text := range map[string]string{"no JSON": "x", "a list": "[]", "a number for a text": `{"Type":7}`, "deep": strings.Repeat("[", 20000)} {
		if status, answer := w.postText([]byte(text)); status != 400 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, text := w.post(fresh().sign(t, keys.signer), rawHeader); status != 400 || !strings.Contains(text, "raw") {
		t.Errorf("raw: %d %s", status, text)
	}
	if taken := w.Spy.Taken(); len(taken) != 0 {
		t.Errorf("delivered: %v", taken)
	}
	for _, asked := range w.aws.asked {
		if !strings.HasPrefix(asked, snsHost+"/") {
			t.Errorf("%s was asked", asked)
		}
	}
	if n := w.aws.times("/page.pem"); n != 1 {
		t.Errorf("a page was fetched %d times", n)
	}
	// The same message, honest, goes through: none of the refusals was by accident.
	if status, text := w.post(fresh().sign(t, keys.signer)); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
}

// TestImpostor: a host that has no certificate for SNS's name is not believed.
func TestImpostor(t *testing.T) {
	w := newWorld(t, "evil.example")
	if status, text := w.post(notification("1", native).sign(t, keys.signer)); status != http.StatusServiceUnavailable || w.aws.times("cert.pem") != 0 {
		t.Errorf("%d %s", status, text)
	}
}

// TestConfirmation: an allowed topic's subscription is confirmed, once; a confirmation that is sent again is not followed, nor one that points elsewhere.
func TestConfirmation(t *testing.T) {
	w := newWorld(t, snsHost)
	for range 2 {
		if status, text := w.post(confirmation("1").sign(t, keys.signer)); status != http.StatusOK {
			t.Errorf("%d %s", status, text)
		}
	}
	if n := w.aws.times("ConfirmSubscription"); n != 1 {
		t.Errorf("it was confirmed %d times", n)
	}
	old := confirmation("2").with("Timestamp", time.Now().Add(-3*time.Hour).UTC().Format(time.RFC3339Nano)).sign(t, keys.signer)
	elsewhere := confirmation("3").with("SubscribeURL", "https://evil.example/?Action=ConfirmSubscription").sign(t, keys.signer)
	another := confirmation("4")
	another = another.with("SubscribeURL", strings.Replace(another["SubscribeURL"], "events", "other", 1)).sign(t, keys.signer)
	stop := confirmation("5")
	stop = stop.with("SubscribeURL", strings.Replace(stop["SubscribeURL"], "ConfirmSubscription", "Unsubscribe", 1)).sign(t, keys.signer)
	for name, m := range map[string]fields{"old": old, "elsewhere": elsewhere, "of another topic": another, "another action": stop, "forged": confirmation("6").sign(t, keys.forger)} {
		if status, text := w.post(m); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if n := w.aws.times("ConfirmSubscription"); n != 1 {
		t.Errorf("it was confirmed %d times", n)
	}
	// When SNS is away the confirmation is asked for again, and then it is followed.
	w.aws.handle("/", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) })
	if status, text := w.post(confirmation("7").sign(t, keys.signer)); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, text)
	}
	w.aws.serve("/", []byte("<ok/>"))
	if status, text := w.post(confirmation("7").sign(t, keys.signer)); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if n := w.aws.times("ConfirmSubscription"); n != 3 {
		t.Errorf("it was asked to confirm %d times", n)
	}
	ended := confirmation("8").with("Type", typeUnsubscribed).sign(t, keys.signer)
	if status, text := w.post(ended); status != http.StatusOK || w.aws.times("ConfirmSubscription") != 3 {
		t.Errorf("the end of a subscription: %d %s", status, text)
	}
}

// TestRefusals: SNS repeats what could not be taken for now, and not what never can be.
func TestRefusals(t *testing.T) {
	w := newWorld(t, snsHost)
	if status, text := w.post(notification("1", "hello").sign(t, keys.signer)); status != http.StatusBadRequest {
		t.Errorf("no event: %d %s", status, text)
	}
	if status, text := w.post(notification("2", `{"channelId":"nobody","data":1}`).sign(t, keys.signer)); status != http.StatusNotFound {
		t.Errorf("no channel: %d %s", status, text)
	}
	w.Spy.Fail(func(eureka.Message) error { return eureka.Errorf(eureka.CodeUnavailable, "the engine is away") })
	m := notification("3", native).sign(t, keys.signer)
	if status, text := w.post(m); status != http.StatusServiceUnavailable {
		t.Errorf("busy: %d %s", status, text)
	}
	w.Spy.Fail(nil)
	if status, text := w.post(m); status != http.StatusOK || text != `{"accepted":1,"channels":["orders"]}` {
		t.Errorf("again: %d %s", status, text)
	}
}

// TestCounts: what SNS sends again is no refusal: that is what nobody can take.
func TestCounts(t *testing.T) {
	w := newWorld(t, snsHost)
	w.post(notification("1", native).sign(t, keys.signer))
	w.post(notification("2", native).sign(t, keys.forger))
	w.post(notification("3", "hello").sign(t, keys.signer))
	w.post(notification("4", native).with("SigningCertURL", "https://"+snsHost+"/none.pem").sign(t, keys.signer))
	want := map[string]float64{"eureka_events_received_total": 4, "eureka_events_accepted_total": 1, "eureka_events_refused_total": 2, "eureka_events_failed_total": 1}
	families, err := w.Counts.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if _, asked := want[f.GetName()]; asked && len(f.GetMetric()) == 1 && f.GetMetric()[0].GetLabel()[0].GetValue() == Source {
			got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheLogIsNotFlooded: who posts nonsense fills no disk with it.
func TestTheLogIsNotFlooded(t *testing.T) {
	w := newWorld(t, snsHost)
	var log strings.Builder
	now := time.Now()
	var err error
	if w.handler, err = New(Options{
		Topics: []string{events}, Transport: w.aws.transport, Intake: w.Intake, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{logBurst, logBurst + 1} {
		for range 50 {
			if status, text := w.postText([]byte("{}")); status != http.StatusBadRequest {
				t.Fatalf("%d %s", status, text)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != want {
			t.Errorf("%d lines, want %d", lines, want)
		}
		now = now.Add(logEvery)
	}
}

// TestSeen: what could not be sent again any more is forgotten, and there is a bound.
func TestSeen(t *testing.T) {
	s, now := seen{until: map[string]time.Time{}}, time.Now()
	s.add("first", now)
	if !s.has("first", now.Add(maxAge)) || s.has("other", now) {
		t.Error("it does not remember")
	}
	for n := range maxSeen + 10 {
		s.add(fmt.Sprint(n), now)
	}
	if len(s.until) != maxSeen || len(s.order) != maxSeen || s.has("first", now) {
		t.Errorf("%d, %d are remembered", len(s.until), len(s.order))
	}
	s.add("later", now.Add(maxAge+maxSkew+time.Second))
	if len(s.until) != 1 || len(s.order) != 1 {
		t.Errorf("%d, %d are remembered", len(s.until), len(s.order))
	}
}

func TestCheckTopic(t *testing.T) {
	for arn, want := range map[string]string{
		events: snsHost, "arn:aws-cn:sns:cn-north-1:123456789012:a": "sns.cn-north-1.amazonaws.com.cn", "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a*": "sns.us-gov-west-1.amazonaws.com",
		"": "", "*": "", "arn:aws:sns:*:123456789012:a": "", "arn:aws:sqs:eu-west-1:123456789012:a": "", "arn:aws:sns:eu-west-1:*:a": "", "arn:aws:sns:evil.example/:123456789012:a": "",
	} {
		if got := host(arn); got != want || (CheckTopic(arn) == nil) != (want != "") {
			t.Errorf("%s: %q, want %q; %v", arn, got, want, CheckTopic(arn))
		}
	}
}

// FuzzMessage: whatever is posted, nothing that is not signed is taken, and no address but SNS's is accepted.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"Type":"Notification","MessageId":"1","TopicArn":"` + events + `","Message":"m","Timestamp":"2026-01-01T00:00:00Z","SignatureVersion":"1","Signature":"eA==","SigningCertURL":"https://` + snsHost + `/c.pem"}`))
	f.Add([]byte(`{"Type":"SubscriptionConfirmation","MessageId":"1","Token":"t","SubscribeURL":"https://x","TopicArn":"` + events + `","Timestamp":"x","SignatureVersion":"2","Signature":"*","SigningCertURL":"//"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := read(body)
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		_, _ = m.time()
		if address, err := m.certificateURL(); err == nil && !strings.HasPrefix(address, "https://"+host(m.TopicArn)+"/") && !strings.HasPrefix(address, "HTTPS://") {
			t.Fatalf("%q is taken for an address of %q", address, host(m.TopicArn))
		}
		_, _ = m.confirmURL()
		_ = m.signed()
	})
}

// TestUnsigned: SNS signs the message's text and not all that stands around it. Who can get at a signed message, such as another subscriber of the topic,
// must not be able to hang an event of their own on its signature.
func TestUnsigned(t *testing.T) {
	const bridged = `"id":"e","source":"shop","detail-type":"order.paid","detail":"evil"`
	const cloud = `"specversion":"1.0","id":"e","source":"/evil","type":"shop.order.paid","data":"evil"`
	attribute := func(name, value string) string { return fmt.Sprintf(`%q:{"Type":"String","Value":%q}`, name, value) }
	w := newWorld(t, snsHost)
	n := 0
	for name, beside := range map[string]string{
		"a second message, null":            `"Message":null,` + bridged,
		"another spelling, null":            `"message":null,` + bridged,
		"a CloudEvent beside it":            `"message":null,` + cloud,
		"attributes that are none":          `"MessageAttributes":7,` + bridged,
		"attributes that are no texts":      `"MessageAttributes":{"a":{"Type":7}},` + bridged,
		"an event beside it":                bridged,
		"a CloudEvent's attributes":         `"MessageAttributes":{` + strings.Join([]string{attribute("ce-specversion", "1.0"), attribute("ce-id", "e"), attribute("ce-source", "/evil"), attribute("ce-type", "shop.order.paid")}, ",") + `}`,
		"the attributes of a CloudEvent, 2": `"messageattributes":{` + strings.Join([]string{attribute("ce-specversion", "1.0"), attribute("ce-id", "e"), attribute("ce-source", "/evil"), attribute("ce-type", "x"), attribute("ce-channelid", "orders")}, ",") + `}`,
	} {
		n++
		text, err := json.Marshal(notification(fmt.Sprint(n), `{"channelId":"room","data":"honest"}`).sign(t, keys.signer))
		if err != nil {
			t.Fatal(err)
		}
		status, answer := w.postText([]byte(strings.TrimSuffix(string(text), "}") + "," + beside + "}"))
		// The CloudEvent's type takes the place of the message's.
		if refused := status == http.StatusBadRequest && name == "a CloudEvent beside it"; !refused && (status != http.StatusOK || answer != `{"accepted":1,"channels":["room"]}`) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	for _, taken := range w.Spy.Taken() {
		if taken != `room message "honest"` {
			t.Errorf("delivered: %s", taken)
		}
	}
}
