package deploytest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

type bucket struct {
	objects            map[string][]byte
	private, encrypted bool
}

func (c *Cloud) serveS3(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	b := c.buckets[name]
	action := s3Action(r, key)
	if !c.note(action) {
		c.refuse(w, r, http.StatusForbidden, "AccessDenied", "not authorized to do s3:"+action)
		return
	}
	if b == nil && action != "CreateBucket" {
		c.refuse(w, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	switch action {
	case "CreateBucket":
		if !strings.Contains(string(body), "<LocationConstraint>"+Region+"</LocationConstraint>") {
			c.refuse(w, r, http.StatusBadRequest, "IllegalLocationConstraintException", "the location constraint is wrong")
			return
		}
		c.buckets[name] = &bucket{objects: map[string][]byte{}}
	case "PutPublicAccessBlock":
		b.private = strings.Count(string(body), ">true<") == 4
	case "PutBucketEncryption":
		b.encrypted = strings.Contains(string(body), "AES256")
	case "HeadBucket", "PutBucketTagging":
	case "HeadObject":
		if _, there := b.objects[key]; !there {
			c.refuse(w, r, http.StatusNotFound, "NotFound", "")
		}
	case "PutObject":
		b.objects[key] = body
	case "ListObjectVersions":
		b.list(w)
	case "DeleteObjects":
		c.deleteObjects(w, b, body)
	case "DeleteBucket":
		if len(b.objects) > 0 {
			c.refuse(w, r, http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
			return
		}
		delete(c.buckets, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		c.t.Errorf("S3 is asked for %s %s", r.Method, r.URL)
	}
}

func s3Action(r *http.Request, key string) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodHead && key == "":
		return "HeadBucket"
	case r.Method == http.MethodHead:
		return "HeadObject"
	case r.Method == http.MethodPut && key != "":
		return "PutObject"
	case r.Method == http.MethodPut && query.Has("publicAccessBlock"):
		return "PutPublicAccessBlock"
	case r.Method == http.MethodPut && query.Has("encryption"):
		return "PutBucketEncryption"
	case r.Method == http.MethodPut && query.Has("tagging"):
		return "PutBucketTagging"
	case r.Method == http.MethodPut:
		return "CreateBucket"
	case r.Method == http.MethodGet && query.Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodPost && query.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodDelete && key == "":
		return "DeleteBucket"
	default:
		return "unknown"
	}
}

// listed is how many objects one page of a list has: few, so that pages are used.
const listed = 2

func (b *bucket) list(w io.Writer) {
	var page strings.Builder
	n := 0
	for key := range b.objects {
		if n == listed {
			break
		}
		n++
		fmt.Fprintf(&page, "<Version><Key>%s</Key><VersionId>null</VersionId><IsLatest>true</IsLatest></Version>", key)
	}
	_, _ = fmt.Fprintf(w, "<ListVersionsResult><IsTruncated>%v</IsTruncated>%s</ListVersionsResult>", len(b.objects) > listed, page.String()) // the client may be gone
}

func (c *Cloud) deleteObjects(w io.Writer, b *bucket, body []byte) {
	var asked struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &asked); err != nil {
		c.t.Error(err)
	}
	for _, o := range asked.Object {
		delete(b.objects, o.Key)
	}
	_, _ = io.WriteString(w, "<DeleteResult></DeleteResult>") // likewise
}
