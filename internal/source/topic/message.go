package topic

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"

	"eureka"
)

// The types of messages.
const (
	typeNotification = "Notification"
	typeConfirmation = "SubscriptionConfirmation"
	typeUnsubscribed = "UnsubscribeConfirmation"
)

// message is what SNS posts.
type message struct {
	Type             string
	MessageID        string `json:"MessageId"`
	Token            string
	TopicArn         string
	Subject          *string
	Message          string
	SubscribeURL     string
	Timestamp        string
	SignatureVersion string
	Signature        string
	SigningCertURL   string
}

// topicArn is a topic's ARN; its groups are the partition's ending and the region.
var topicArn = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:sns:([a-z0-9-]{1,32}):\d{12}:[A-Za-z0-9_.*-]{1,256}$`)

// CheckTopic checks an entry of the topics that are allowed: an ARN, in whose name * stands for any characters.
func CheckTopic(arn string) error {
	if !topicArn.MatchString(arn) {
		return eureka.FieldError("sns_topics", "%q is no topic's ARN; it looks like arn:aws:sns:eu-west-1:123456789012:events", arn)
	}
	return nil
}

// read reads a message. What it says is not believed yet.
func read(body []byte) (message, error) {
	var m message
	if json.Unmarshal(body, &m) != nil {
		return m, eureka.FieldError("body", "is no message of SNS")
	}
	for _, required := range []struct{ field, value string }{
		{"Type", m.Type}, {"MessageId", m.MessageID}, {"TopicArn", m.TopicArn}, {"Timestamp", m.Timestamp},
		{"SignatureVersion", m.SignatureVersion}, {"Signature", m.Signature}, {"SigningCertURL", m.SigningCertURL},
	} {
		if required.value == "" {
			return m, eureka.FieldError(required.field, "is missing; a message of SNS has it")
		}
	}
	switch m.Type {
	case typeNotification:
	case typeConfirmation, typeUnsubscribed:
		if m.Token == "" || m.SubscribeURL == "" {
			return m, eureka.FieldError("Token", "and SubscribeURL are needed in a message of the type %s", m.Type)
		}
	default:
		return m, eureka.FieldError("Type", "must be Notification, SubscriptionConfirmation or UnsubscribeConfirmation")
	}
	return m, nil
}

// time is when SNS says that it was published.
func (m message) time() (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, m.Timestamp)
	if err != nil {
		return at, eureka.FieldError("Timestamp", "must be a time of RFC 3339")
	}
	return at, nil
}

// signed is the text that SNS has signed.
func (m message) signed() []byte {
	var b strings.Builder
	add := func(key, value string) { b.WriteString(key + "\n" + value + "\n") }
	add("Message", m.Message)
	add("MessageId", m.MessageID)
	if m.Type == typeNotification {
		if m.Subject != nil {
			add("Subject", *m.Subject)
		}
		add("Timestamp", m.Timestamp)
	} else {
		add("SubscribeURL", m.SubscribeURL)
		add("Timestamp", m.Timestamp)
		add("Token", m.Token)
	}
	add("TopicArn", m.TopicArn)
	add("Type", m.Type)
	return []byte(b.String())
}

// verify checks the signature by a certificate of SNS.
func (m message) verify(certificate *x509.Certificate) error {
	algorithm, known := map[string]x509.SignatureAlgorithm{"1": x509.SHA1WithRSA, "2": x509.SHA256WithRSA}[m.SignatureVersion]
	if !known {
		return eureka.FieldError("SignatureVersion", "must be 1 or 2")
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err == nil {
		err = certificate.CheckSignature(algorithm, m.signed(), signature)
	}
	if err != nil {
		return eureka.WrapError(eureka.CodeForbidden, err, "the signature of the message is not right")
	}
	return nil
}

// host is the one host of SNS that a topic's messages may point to, "" when the ARN is none.
func host(arn string) string {
	parts := topicArn.FindStringSubmatch(arn)
	switch {
	case parts == nil:
		return ""
	case parts[1] == "-cn":
		return "sns." + parts[2] + ".amazonaws.com.cn"
	default:
		return "sns." + parts[2] + ".amazonaws.com"
	}
}

// address checks a URL of a message: SNS's own host of the topic's region, over TLS.
func (m message) address(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host != host(m.TopicArn) || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, eureka.WrapError(eureka.CodeForbidden, err, "%s: is not an address of SNS in the topic's region", field)
	}
	return u, nil
}

// certificateURL checks where the certificate is.
func (m message) certificateURL() (string, error) {
	u, err := m.address("SigningCertURL", m.SigningCertURL)
	if err == nil && (!strings.HasSuffix(u.Path, ".pem") || u.RawQuery != "") {
		err = eureka.Errorf(eureka.CodeForbidden, "SigningCertURL: is not an address of a certificate")
	}
	return m.SigningCertURL, err
}

// confirmURL checks where a subscription is confirmed: the call for this topic and no other.
func (m message) confirmURL() (string, error) {
	u, err := m.address("SubscribeURL", m.SubscribeURL)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if strings.Trim(u.Path, "/") != "" || q.Get("Action") != "ConfirmSubscription" || q.Get("TopicArn") != m.TopicArn || q.Get("Token") != m.Token {
		return "", eureka.Errorf(eureka.CodeForbidden, "SubscribeURL: does not confirm a subscription of this topic")
	}
	return m.SubscribeURL, nil
}
