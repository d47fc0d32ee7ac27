/* The losses of independent elements, by what they take after `weight`. Made from the sources, as the header is. */
#define POINTWISE_LOSSES(PLAIN, WITH_NUMBER, WITH_ARRAY) \
    PLAIN(mse) \
    PLAIN(l1) \
    WITH_NUMBER(huber) \
    WITH_NUMBER(smooth_l1) \
    PLAIN(bce) \
    WITH_ARRAY(bce_with_logits) \
    PLAIN(likelihood)
