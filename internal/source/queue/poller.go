package queue

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/source"
)

// Source is the name under which the events are counted.
const Source = "sqs"

// How a poller behaves.
const (
	batchSize            = 10               // messages of a request, SQS's limit
	poll                 = 20 * time.Second // that a receive waits for a message, SQS's limit
	visibility           = time.Minute      // that a message is this poller's, from when it is received or extended
	extendsPerVisibility = 3
	callTimeout          = 15 * time.Second // of one request beside the time it waits for messages
	firstAgain           = 5 * time.Second  // until a message that failed is visible again; doubled each time
	lastAgain            = 5 * time.Minute
	firstReconnect       = 250 * time.Millisecond // until a queue that does not answer is asked again; doubled each time
	lastReconnect        = 10 * time.Second
)

// Options configure New. Queues, Intake and Log are required.
type Options struct {
	Queues   []string // URLs
	Region   string   // "": the one in the queue's URL, else that of the AWS configuration
	Endpoint string   // of SQS; "" for the region's own
	Receives int      // receives of each queue at a time, each of which brings up to ten messages; 1 when 0
	Intake   *source.Intake
	Log      *slog.Logger

	poll, visibility, again time.Duration // of tests
}

// Poller takes events from queues until it is stopped.
type Poller struct {
	options Options
	queues  []*queue
	stop    context.CancelFunc // ends receiving
	cut     context.CancelFunc // ends what is under way
	running sync.WaitGroup
}

// queueHost is the host of a queue's URL in AWS.
var queueHost = regexp.MustCompile(`^sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)

// New returns a poller that asks nothing yet. It reads the AWS configuration: environment, files, the machine's role. CodeInvalid names a queue or region
// that is wrong.
func New(ctx context.Context, o Options) (*Poller, error) {
	if o.Intake == nil || o.Log == nil || len(o.Queues) == 0 {
		return nil, errors.New("queue: an option is missing")
	}
	if o.poll == 0 {
		o.poll = poll
	}
	if o.visibility == 0 {
		o.visibility = visibility
	}
	if o.again == 0 {
		o.again = firstAgain
	}
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "sqs_queues: the AWS configuration cannot be read")
	}
	p := &Poller{options: o}
	for _, address := range o.Queues {
		region, err := Region(address, o.Region, settings.Region)
		if err != nil {
			return nil, err
		}
		client := sqs.NewFromConfig(settings, func(s *sqs.Options) {
			s.Region = region
			if o.Endpoint != "" {
				s.BaseEndpoint = aws.String(o.Endpoint)
			}
			s.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = 2*o.Receives + 2 })
		})
		p.queues = append(p.queues, &queue{poller: p, url: address, client: client, log: o.Log.With(slog.String("queue", address[strings.LastIndexByte(address, '/')+1:]))})
	}
	return p, nil
}

// Region is the region of a queue: the one that is given, else that of its URL, else fallback. CodeInvalid when there is none, or when the URL is no queue's.
func Region(address, given, fallback string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return "", eureka.FieldError("sqs_queues", "%q is no queue's URL; it looks like https://sqs.eu-west-1.amazonaws.com/123456789012/events", address)
	}
	if given != "" {
		return given, nil
	}
	if match := queueHost.FindStringSubmatch(u.Hostname()); match != nil {
		return match[1], nil
	}
	if fallback == "" {
		return "", eureka.FieldError("sqs_region", "is needed: the queue's URL does not name its region, nor does the AWS configuration")
	}
	return fallback, nil
}

// Start begins to receive. It is called once.
func (p *Poller) Start(ctx context.Context) {
	working, cut := context.WithCancel(context.WithoutCancel(ctx))
	receiving, stop := context.WithCancel(working)
	p.stop, p.cut = stop, cut
	for _, q := range p.queues {
		for range max(p.options.Receives, 1) {
			p.running.Go(func() { q.run(receiving, working) })
		}
	}
}

// Stop receives nothing more, and returns when what was received is done with, or when ctx ends: what is not accepted by then stays the queues'.
func (p *Poller) Stop(ctx context.Context) error {
	p.stop()
	done := make(chan struct{})
	go func() {
		p.running.Wait()
		close(done)
	}()
	defer p.cut()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return eureka.WrapError(eureka.CodeTimeout, ctx.Err(), "events of queues were under way; their queues give them again")
	}
}

// queue is one queue that is polled.
type queue struct {
	poller *Poller
	url    string
	client *sqs.Client
	log    *slog.Logger

	mu   sync.Mutex
	up   bool // the last receive was answered
	away bool // it was not, and that was logged
}

// run receives and works until receiving ends.
func (q *queue) run(receiving, working context.Context) {
	again := pause.Backoff{First: firstReconnect, Last: lastReconnect}
	for receiving.Err() == nil {
		messages, err := q.receive(receiving)
		switch {
		case receiving.Err() != nil && err != nil:
			return
		case err != nil:
			q.answers(err)
			_ = again.Wait(receiving) // the loop sees the end
		default:
			q.answers(nil)
			again.Reset()
			newBatch(q, messages).work(working)
		}
	}
}

// answers notes whether the queue answers, and logs when that changes.
func (q *queue) answers(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.poller.options.Intake.Metrics().Connected(Source, err == nil)
	switch {
	case err != nil && !q.away:
		q.log.Warn("the queue does not answer", slog.Any("error", err))
	case err == nil && q.away:
		q.log.Info("the queue answers again")
	}
	q.up, q.away = err == nil, err != nil
}

// patience is how long a receive waits for a message: not long while it is not known whether the queue answers at all.
func (q *queue) patience() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.up {
		return q.poller.options.poll
	}
	return min(q.poller.options.poll, time.Second)
}

func (q *queue) receive(ctx context.Context) ([]types.Message, error) {
	o := q.poller.options
	ctx, cancel := context.WithTimeout(ctx, o.poll+callTimeout)
	defer cancel()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(q.url), MaxNumberOfMessages: batchSize, WaitTimeSeconds: seconds(q.patience()), VisibilityTimeout: seconds(o.visibility),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameMessageGroupId, types.MessageSystemAttributeNameApproximateReceiveCount},
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// seconds is a time as SQS takes it, which is half a day at the most.
func seconds(d time.Duration) int32 {
	return int32(min(d, 12*time.Hour) / time.Second) //nolint:gosec // it fits
}
