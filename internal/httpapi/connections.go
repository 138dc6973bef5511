package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/problem"
)

// connectionsPath is API Gateway's management API; its stage may stand in front.
const connectionsPath = "/@connections/{id}"

// connection is what GetConnection answers.
type connection struct {
	ConnectedAt  string `json:"connectedAt"`
	LastActiveAt string `json:"lastActiveAt"`
	Identity     struct {
		SourceIP  string `json:"sourceIp"`
		UserAgent string `json:"userAgent"`
	} `json:"identity"`
}

func (a *api) connectionRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+connectionsPath, a.postToConnection)
	mux.HandleFunc("GET "+connectionsPath, a.getConnection)
	mux.HandleFunc("DELETE "+connectionsPath, a.deleteConnection)
}

// withoutStage removes the stage in front of /@connections, as AWS clients send it.
func withoutStage(r *http.Request) *http.Request {
	path := r.URL.EscapedPath()
	stage, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || stage == "" || (!strings.HasPrefix(rest, "@connections/") && !strings.HasPrefix(rest, "%40connections/")) {
		return r
	}
	r = r.Clone(r.Context())
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/"+r.URL.Path[1:1+strings.IndexByte(r.URL.Path[1:], '/')])
	r.URL.RawPath = "/" + rest
	return r
}

func (a *api) postToConnection(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = a.core.SendFrame(r.Context(), who(r.Context()), r.PathValue("id"), text)
	}
	if err != nil {
		awsError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (a *api) getConnection(w http.ResponseWriter, r *http.Request) {
	s, err := a.core.Socket(r.Context(), who(r.Context()), r.PathValue("id"))
	if err != nil {
		awsError(w, r, err)
		return
	}
	connectedAt := time.UnixMilli(s.ConnectedAt).UTC().Format("2006-01-02T15:04:05.000Z")
	// The service does not note a time at each frame; a live socket is active now, as its pings say.
	out := connection{ConnectedAt: connectedAt, LastActiveAt: time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}
	out.Identity.SourceIP, out.Identity.UserAgent = s.Remote, s.Agent
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		noteError(r.Context(), err)
	}
}

func (a *api) deleteConnection(w http.ResponseWriter, r *http.Request) {
	if _, err := a.core.Kick(r.Context(), who(r.Context()), r.PathValue("id"), ""); err != nil {
		awsError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// awsError answers as API Gateway does: its SDKs know the error by the header.
func awsError(w http.ResponseWriter, r *http.Request, err error) {
	noteError(r.Context(), err)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		err = eureka.Errorf(eureka.CodeTooLarge, "the frame is over the limit of %d bytes", eureka.MaxFrameBytes)
	}
	kind, status := "InternalServerErrorException", eureka.CodeOf(err).Outcome().HTTPStatus
	switch eureka.CodeOf(err) {
	case eureka.CodeGone, eureka.CodeNotFound:
		kind, status = "GoneException", http.StatusGone
	case eureka.CodeTooLarge:
		kind = "PayloadTooLargeException"
	case eureka.CodeInvalid:
		kind = "BadRequestException"
	case eureka.CodeForbidden, eureka.CodeUnauthenticated:
		kind = "ForbiddenException"
	case eureka.CodeRateLimited:
		kind = "LimitExceededException"
	case eureka.CodeUnavailable, eureka.CodeTimeout:
		kind = "ServiceUnavailableException"
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", problem.Challenge)
	}
	w.Header().Set("X-Amzn-Errortype", kind)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	text, encodeErr := json.Marshal(map[string]string{"message": eureka.MessageOf(err)})
	if encodeErr == nil {
		_, _ = w.Write(text) // a client that went away cannot be told
	}
}

// describeConnections puts the management API into the document; its answers are not ours to shape.
func describeConnections(doc *huma.OpenAPI) {
	parameter := &huma.Param{
		Name: "id", In: "path", Required: true, Description: "The socket's id.", Schema: &huma.Schema{Type: huma.TypeString},
	}
	add := func(method, id, summary, status, answer string, request *huma.RequestBody) {
		doc.AddOperation(&huma.Operation{
			OperationID: id, Method: method, Path: connectionsPath, Tags: []string{"connections"}, Summary: summary,
			Parameters: []*huma.Param{parameter}, RequestBody: request,
			Responses: map[string]*huma.Response{
				status: {Description: answer},
				"401":  {Description: "There is no valid credential."},
				"403":  {Description: "The credential lacks the scope manage (ForbiddenException)."},
				"410":  {Description: "The socket has ended (GoneException)."},
				"413":  {Description: "The frame is too large (PayloadTooLargeException)."},
			},
		})
	}
	frame := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}
	add(http.MethodPost, "post-to-connection", "Send a frame as it stands to one socket", "200", "The frame is queued.", frame)
	add(http.MethodGet, "get-connection", "Read a live socket", "200", "connectedAt, lastActiveAt, identity.", nil)
	add(http.MethodDelete, "delete-connection", "Disconnect a socket", "204", "The socket is being closed.", nil)
}
