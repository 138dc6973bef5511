package dynamo

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// conditionError says that a write's condition did not hold, so nothing was written. Its code is CodeConflict; callers ask refused.
type conditionError struct {
	item item // as it stands in the table; nil when there is none
	// unsure says that an earlier try of the same write got no answer: it may be the very thing that makes the condition fail now.
	unsure bool
	step   int // of a transaction: the step whose condition it was, from 0
}

// Error implements error.
func (e *conditionError) Error() string { return "the item has changed meanwhile" }

// Unwrap gives the error its code.
func (e *conditionError) Unwrap() error {
	return eureka.Errorf(eureka.CodeConflict, "somebody else has changed it meanwhile; read it again")
}

// refused returns what is known about a write whose condition did not hold, nil for any other error and for none.
func refused(err error) *conditionError {
	var refusal *conditionError
	if errors.As(err, &refusal) {
		return refusal
	}
	return nil
}

// isRefused reports whether a write's condition did not hold.
func isRefused(err error) bool { return refused(err) != nil }

// unlessRefused returns the error of a write, none when its condition did not hold: for writes that are needless then.
func unlessRefused(err error) error {
	if isRefused(err) {
		return nil
	}
	return err
}

// throttled are DynamoDB's codes for "later".
var throttled = []string{
	"ProvisionedThroughputExceededException", "ThrottlingException", "Throttling", "RequestLimitExceeded", "TransactionConflictException",
	"TransactionInProgressException", "LimitExceededException",
}

// outcome is what one failed try means.
type outcome int

const (
	failed    outcome = iota // trying again would not help
	busy                     // nothing was done; try again later
	uncertain                // there was no answer: it may have been done; try again
)

func outcomeOf(err error) outcome {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch {
		case slices.Contains(throttled, api.ErrorCode()):
			return busy
		case api.ErrorFault() == smithy.FaultServer || serverStatus(err):
			return uncertain
		default:
			return failed
		}
	}
	var send *smithyhttp.RequestSendError
	var damaged *smithy.DeserializationError
	var network net.Error
	if errors.As(err, &send) || errors.As(err, &damaged) || errors.As(err, &network) || serverStatus(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "checksum") { // of an answer that was cut; the SDK has no type for it
		return uncertain
	}
	return failed
}

func serverStatus(err error) bool {
	var response *smithyhttp.ResponseError
	return errors.As(err, &response) && response.HTTPStatusCode() >= 500
}

// storeError translates the error of a last try. ctx is the caller's.
func storeError(ctx context.Context, err error) error {
	var own *eureka.Error
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return eureka.WrapError(eureka.CodeUnavailable, err, "the request was cancelled")
	case ctx.Err() != nil:
		return eureka.WrapError(eureka.CodeUnavailable, err, "the store did not answer in time")
	case outcomeOf(err) == busy:
		return eureka.WrapError(eureka.CodeUnavailable, err, "the store is busy; try again")
	case outcomeOf(err) == uncertain:
		return eureka.WrapError(eureka.CodeUnavailable, err, "the store does not answer; try again")
	case errors.As(err, &api) && strings.Contains(api.ErrorMessage(), "maximum allowed size"):
		return eureka.WrapError(eureka.CodeTooLarge, err, "it is larger than the store takes")
	default:
		return eureka.WrapError(eureka.CodeInternal, err, "the store failed")
	}
}

// conditionFailed returns the refusal in a try's error, nil when it is another error.
func conditionFailed(err error) *conditionError {
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return &conditionError{item: failed.Item}
	}
	return nil
}
