package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"eureka"
)

// kept is an answer as it is kept for a repeated request.
type kept struct {
	Request string          `json:"request"` // fingerprint of what was asked
	Answer  json.RawMessage `json:"answer"`
}

// onceKey makes one key of parts that callers choose; different parts never make the same key.
func onceKey(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// fingerprint tells requests apart that came with the same key.
func fingerprint(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// claimUse is how long a request with a key may take. It ends well before others may take its claim over.
const claimUse = eureka.RequestLease * 2 / 3

// once runs do, unless a request with this key was accepted before: then it returns what that one was answered. An empty key runs do
// always. A request that failed may be sent again. CodeConflict when the key came with another request.
func once[T any](ctx context.Context, c *Core, key, request string, do func(context.Context) (T, error)) (T, error) {
	var out T
	if key == "" {
		return do(ctx)
	}
	answer, err := c.ports.Requests.Begin(ctx, key)
	if err != nil {
		return out, err
	}
	if answer != nil {
		var k kept
		if err := json.Unmarshal(answer, &k); err != nil {
			return out, err
		}
		if k.Request != request {
			return out, eureka.Errorf(eureka.CodeConflict, "the Idempotency-Key, or id, was used for another request in the last five minutes")
		}
		return out, json.Unmarshal(k.Answer, &out)
	}
	// What is done is done for the claim's sake as well: a caller that hangs up must leave neither it behind nor the work half done.
	ctx = context.WithoutCancel(ctx)
	using, cancel := context.WithTimeout(ctx, claimUse)
	defer cancel()
	out, err = do(using)
	if err != nil {
		if abandonErr := c.ports.Requests.Abandon(ctx, key); abandonErr != nil {
			c.log.Warn("a failed request could not be given up; repeating it has to wait", slog.Any("error", abandonErr))
		}
		return out, err
	}
	text, err := json.Marshal(out)
	if err == nil {
		text, err = json.Marshal(kept{request, text})
	}
	if err == nil {
		err = c.ports.Requests.Finish(ctx, key, text)
	}
	if err != nil {
		// It was accepted: saying otherwise would make the caller do it twice.
		c.log.Error("the answer to a request could not be kept; repeating it would do it again", slog.Any("error", err))
	}
	return out, nil
}

// CheckKey checks an idempotency key: at most eureka.MaxKeyLength printable ASCII characters; empty is none.
func CheckKey(field, key string) error {
	if len(key) > eureka.MaxKeyLength || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return eureka.FieldError(field, "must be at most %d printable ASCII characters", eureka.MaxKeyLength)
	}
	return nil
}
