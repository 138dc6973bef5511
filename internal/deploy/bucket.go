package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"eureka"
)

// upload puts the zip into the stage's bucket, which it makes when it is not there: private, encrypted, and for requests over TLS alone.
func (d *Deployer) upload(ctx context.Context, bucket, key string, zip []byte) error {
	if err := d.ensureBucket(ctx, bucket); err != nil {
		return err
	}
	_, err := d.storage.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err == nil {
		return nil // its key is made of its content
	}
	if !isCode(err, "NotFound", "NoSuchKey") {
		return failed(err, "the bucket cannot be read")
	}
	d.step(fmt.Sprintf("uploading the functions (%.1f MB) to s3://%s", float64(len(zip))/1e6, bucket))
	_, err = d.storage.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(zip), ContentType: aws.String("application/zip"),
	})
	if err != nil {
		return failed(err, "the functions cannot be uploaded")
	}
	return nil
}

func (d *Deployer) ensureBucket(ctx context.Context, bucket string) error {
	_, err := d.storage.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(bucket)})
	if err != nil && !isCode(err, "NotFound", "NoSuchBucket") {
		return failed(err, "the bucket cannot be looked up")
	}
	if err != nil {
		if err := d.createBucket(ctx, bucket); err != nil {
			return err
		}
	}
	return d.closeBucket(ctx, bucket) // also one that is there: who made it may have been interrupted
}

func (d *Deployer) createBucket(ctx context.Context, bucket string) error {
	d.step("creating the bucket " + bucket)
	create := &s3.CreateBucketInput{Bucket: aws.String(bucket)}
	if d.region != "us-east-1" { // S3's default, which it does not take as a constraint
		create.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(d.region)}
	}
	if _, err := d.storage.CreateBucket(ctx, create); err != nil && !isCode(err, "BucketAlreadyOwnedByYou") {
		return failed(err, "the bucket cannot be created")
	}
	return nil
}

// closeBucket keeps the public and plain HTTP out.
func (d *Deployer) closeBucket(ctx context.Context, bucket string) error {
	if _, err := d.storage.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
		Bucket: aws.String(bucket), PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
		},
	}); err != nil {
		return failed(err, "the bucket cannot be closed to the public")
	}
	if _, err := d.storage.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
		Bucket: aws.String(bucket), ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256},
			}},
		},
	}); err != nil {
		return failed(err, "the bucket cannot be encrypted")
	}
	if _, err := d.storage.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(d.bucketPolicy(bucket))}); err != nil {
		return failed(err, "plain HTTP cannot be kept from the bucket")
	}
	if _, err := d.storage.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{
		Bucket: aws.String(bucket), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("eureka-stage"), Value: aws.String(d.stage)}}},
	}); err != nil {
		return failed(err, "the bucket cannot be tagged")
	}
	return nil
}

// bucketPolicy refuses requests without TLS.
func (d *Deployer) bucketPolicy(bucket string) string {
	name := "arn:" + d.partition + ":s3:::" + bucket
	text, err := json.Marshal(object{"Version": "2012-10-17", "Statement": list{object{
		"Sid": "OverTlsAlone", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": list{name, name + "/*"},
		"Condition": object{"Bool": object{"aws:SecureTransport": "false"}},
	}}})
	if err != nil {
		return "" // cannot be: texts always encode
	}
	return string(text)
}

// removeBucket empties a bucket, since S3 deletes none that holds something, and deletes it. found is false when there is none.
func (d *Deployer) removeBucket(ctx context.Context, bucket string) (found bool, err error) {
	d.step("emptying and deleting the bucket " + bucket)
	in := &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)}
	for {
		page, err := d.storage.ListObjectVersions(ctx, in)
		if isCode(err, "NoSuchBucket") {
			return false, nil
		}
		if err != nil {
			return false, failed(err, "the bucket cannot be listed")
		}
		var all []types.ObjectIdentifier
		for _, v := range page.Versions {
			all = append(all, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			all = append(all, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if err := d.deleteObjects(ctx, bucket, all); err != nil {
			return true, err
		}
		if !aws.ToBool(page.IsTruncated) {
			break
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
	if _, err := d.storage.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)}); err != nil {
		return true, failed(err, "the bucket cannot be deleted")
	}
	return true, nil
}

func (d *Deployer) deleteObjects(ctx context.Context, bucket string, all []types.ObjectIdentifier) error {
	if len(all) == 0 {
		return nil
	}
	out, err := d.storage.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: aws.String(bucket), Delete: &types.Delete{Objects: all, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return failed(err, "the bucket cannot be emptied")
	}
	if len(out.Errors) > 0 {
		e := out.Errors[0]
		return eureka.Errorf(eureka.CodeUnavailable, "%d objects of the bucket cannot be removed, the first %q: %s",
			len(out.Errors), aws.ToString(e.Key), aws.ToString(e.Message))
	}
	return nil
}
