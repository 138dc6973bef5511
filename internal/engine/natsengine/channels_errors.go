package natsengine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// unavailable are the foreign errors that mean "not now": the same request may succeed when NATS is back.
var unavailable = []error{
	context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected,
	nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrStaleConnection,
	nats.ErrConnectionDraining, io.EOF, io.ErrClosedPipe, net.ErrClosed, jetstream.ErrNoStreamResponse, jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound,
	jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoHeartbeat,
}

// channelError translates an error of NATS, JetStream or the replica. An error of ours stays as it is.
func channelError(err error) error {
	var own *eureka.Error
	var api *jetstream.APIError
	var broken net.Error // of a connection that ends in the middle of a write
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.Is(err, context.Canceled):
		return eureka.WrapError(eureka.CodeUnavailable, err, "the request was cancelled")
	case errors.As(err, &broken):
		return eureka.WrapError(eureka.CodeUnavailable, err, "the channels are not available now: the connection to NATS broke")
	case errors.As(err, &api) && api.Code == http.StatusServiceUnavailable:
		return eureka.WrapError(eureka.CodeUnavailable, err, "the channels are not available now: NATS cannot store or read")
	}
	for _, u := range unavailable {
		if errors.Is(err, u) {
			return eureka.WrapError(eureka.CodeUnavailable, err, "the channels are not available now: NATS does not answer")
		}
	}
	return eureka.WrapError(eureka.CodeInternal, err, "the channel store failed")
}

// isWrongSequence reports whether a conditional write was refused because the key is at another revision. Streams with several replicas
// use a second code while another write to the key is on its way.
func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
