/* The header needs no other, and everything in it can be used in any order. */
#include "losskit.h"

int main(void)
{
    lk_options options = LK_OPTIONS_INIT;
    lk_class_shape rows = LK_CLASS_ROWS(1, 2);
    lk_cross_entropy_params cross_entropy = LK_CROSS_ENTROPY_PARAMS_INIT;
    lk_nll_params nll = LK_NLL_PARAMS_INIT;
    lk_td_shape td_rows = LK_TD_SHAPE(1, 2);
    lk_td_params td = LK_TD_PARAMS_INIT;
    lk_context *context = NULL;
    lk_status status = LK_OK;
    lk_isa isa = LK_ISA_BEST;
    lk_reduction reduction = LK_MEAN;
    lk_dtype type = LK_I64;
    lk_td_loss loss = LK_TD_HUBER;
    lk_cost *cost = options.cost;
    return (int)(options.struct_size + rows.struct_size + cross_entropy.struct_size + nll.struct_size +
                 td_rows.struct_size + td.struct_size) +
           (context != NULL) + (cost != NULL) + status + isa + reduction + type + loss;
}
