package httpapi

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
)

// Retention is what a client says of a channel's history.
type Retention struct {
	Size *int    `json:"size,omitempty"`
	TTL  *string `json:"ttl,omitempty"`
}

// Schema implements huma.SchemaProvider: huma cannot make an object that may be null by itself.
func (Retention) Schema(huma.Registry) *huma.Schema {
	least, most := 1.0, float64(eureka.MaxHistorySize)
	s := &huma.Schema{
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"size": {Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Description: "Newest messages that are kept; 1000 by default."},
			"ttl":  {Type: huma.TypeString, Description: "How long a message is kept, 1s to 168h, such as 10m, the default."},
		},
	}
	s.PrecomputeMessages()
	return s
}

// retention checks what was said; nil for nothing.
func (r *Retention) retention() (*eureka.Retention, error) {
	if r == nil {
		return nil, nil
	}
	var out eureka.Retention
	if r.Size != nil {
		out.Size = *r.Size
	}
	if r.TTL != nil {
		ttl, err := time.ParseDuration(*r.TTL)
		if err != nil || ttl <= 0 {
			return nil, eureka.FieldError("history.ttl", "must be a duration such as 10m, 1h30m or 45s")
		}
		out.TTL = eureka.Duration(ttl)
	}
	out = out.WithDefaults()
	return &out, out.Validate()
}
